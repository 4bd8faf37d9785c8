"""Weight sets: the sets of tensors in a checkpoint, and which one is taken."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from models.errors import CheckpointError
from models.tensors import Tensors

CONTAINERS = (
    "state_dict_ema",
    "model_ema",
    "params_ema",
    "ema",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "params",
    "module",
)
"""The keys under which training scripts save weights, best first. An averaged (EMA) set is preferred to the raw one, as
timm does. MMEngine's `ema_state_dict` is not listed: MMEngine swaps the two sets when it saves."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "student.", "teacher.")
"""Prefixes that DataParallel, torch.compile, Lightning and training frameworks add to every key."""

TRAINING_ONLY = re.compile(r"(?i)(criterion|loss\w*|aux\w*|metrics?|teacher)\..+|n_averaged|(.+\.)?total_(ops|params)")
"""What only training needs: losses, auxiliary heads, a teacher, counters of profilers and of averages."""

_DEEPEST = 3  # containers in containers: {"model": {"state_dict": …}}


@dataclass(frozen=True)
class WeightSet:
    """Tensors by name. `container` is the path of keys to them in the file, `prefix` was removed from their names."""

    container: str
    tensors: Tensors
    prefix: str = ""

    def inference_tensors(self) -> Tensors:
        """The tensors that inference needs: without those that only training needs."""
        return {key: value for key, value in self.tensors.items() if not TRAINING_ONLY.fullmatch(key)}

    def description(self) -> str:
        """In words: the set, the prefix removed from its keys, and the keys that only training needs."""
        text = f"'{self.container}'" if self.container else "the whole file"
        if self.prefix:
            text += f", keys without '{self.prefix}'"
        left_out = sorted(self.tensors.keys() - self.inference_tensors().keys())
        if left_out:
            text += f", without {', '.join(left_out[:3])}" + (f" and {len(left_out) - 3} more" if left_out[3:] else "")
        return text


def choose(content: object, wanted: str | None, known: Callable[[Tensors], bool], file: str) -> WeightSet:
    """The set named `wanted`, or else the best one that `known` accepts, as it is or without prefixes.

    Where `known` accepts none, it is the best one without prefixes. Raises CheckpointError where there is no such set,
    or none at all.
    """
    sets = {found.container: found for found in _find(content, "", _DEEPEST)}
    if wanted is not None:
        if wanted not in sets:
            names = ", ".join(filter(None, sets)) or "one plain state dict"
            raise CheckpointError(
                f"'{file}' holds no weights under '{wanted}': it has {names}; name one of these with --weights."
            )
        sets = {wanted: sets[wanted]}
    if not sets:
        keys = sorted(map(str, content))[:5] if isinstance(content, Mapping) else type(content).__name__
        raise CheckpointError(
            f"'{file}' holds no weights (only {keys}): save the network's state_dict() and give that file."
        )
    for each in sets.values():
        for candidate in _without_prefixes(each):
            if known(candidate.tensors):
                return candidate
    *_, shortest = _without_prefixes(next(iter(sets.values())))
    return shortest


def _find(content: object, path: str, depth: int) -> Iterator[WeightSet]:
    """Each set in the file, best first. Its container is a path such as `model.state_dict`, "" for the file itself."""
    if not isinstance(content, Mapping) or depth < 0:
        return
    for key in CONTAINERS:
        if key in content:
            yield from _find(content[key], f"{path}.{key}".lstrip("."), depth - 1)
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        yield WeightSet(path, tensors)


def _without_prefixes(found: WeightSet) -> Iterator[WeightSet]:
    """The set as it is, then without the first prefix, then without the first two, and so on."""
    yield found
    while prefix := next((prefix for prefix in PREFIXES if _is_wrapped(found.tensors, prefix)), None):
        tensors = {key.removeprefix(prefix): value for key, value in found.tensors.items()}
        found = WeightSet(found.container, tensors, found.prefix + prefix)
        yield found


def _is_wrapped(tensors: Tensors, prefix: str) -> bool:
    """Whether all tensors have the prefix, except those that only training needs."""
    rest = [key for key in tensors if not key.startswith(prefix)]
    return len(rest) < len(tensors) and all(TRAINING_ONLY.fullmatch(key) for key in rest)
