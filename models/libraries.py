"""Libraries: networks that timm or torchvision define, by the names `timm:NAME` and `torchvision:NAME`."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from models import library_transforms
from models.errors import CheckpointError
from models.evaluation import EvaluationTransform
from models.networks.design import Traits
from models.optional_imports import import_optional
from models.tensors import Tensors
from models.weightless import weightless

_TORCHVISION = {
    "features.1.block.0.0.weight": "mobilenet_v3_",
    "features.1.0.block.0.0.weight": "efficientnet_",
    "trunk_output.block1.block1-0.f.a.0.weight": "regnet_y_",
}
"""torchvision's networks with SE blocks: a tensor that all networks of a kind have, and the prefix of their names."""


@dataclass(frozen=True)
class LibraryDesign:
    """A network that a library defines, with a number of classes; a `models.networks.design.Design`."""

    library: str
    name: str
    classes: int

    @property
    def traits(self) -> Traits:
        return Traits()

    def build(self) -> nn.Module:
        return _build(self.library, self.name, num_classes=self.classes)


def is_library(arch: str | None) -> bool:
    """Whether the name is `timm:…` or `torchvision:…`."""
    return arch is not None and arch.partition(":")[0] in ("timm", "torchvision") and ":" in arch


def design(arch: str, tensors: Tensors) -> LibraryDesign:
    """The network of that name, with as many classes as the tensors' last layer has rows.

    Raises CheckpointError where the library is not installed or has no such network, or the last layer is missing.
    """
    library, name = _checked(arch)
    head = _head(library, name)
    for last in (f"{head}.bias", f"{head}.weight"):
        if last in tensors:
            return LibraryDesign(library, name.partition(".")[0], len(tensors[last]))
    raise CheckpointError(
        f"Tensor '{head}.weight' is missing, the last layer of {arch}: give the whole checkpoint as it was trained."
    )


def matcher(arch: str) -> Callable[[Tensors], bool]:
    """A function that tells whether tensors are those of the network: whether they have most of its tensors' names."""
    library, name = _checked(arch)
    keys = set(weightless(lambda: _build(library, name.partition(".")[0])).state_dict())
    return lambda tensors: 2 * len(keys & tensors.keys()) > len(keys)


def transform(arch: str) -> EvaluationTransform:
    """How the library prepares photos for its published weights of that name. Raises CheckpointError."""
    library, name = _checked(arch)
    return library_transforms.of_timm(name) if library == "timm" else library_transforms.of_torchvision(name)


def recognise(tensors: Tensors) -> str | None:
    """`torchvision:NAME` where exactly one of its networks with SE blocks has these tensors, except the last layer."""
    kind = next((kind for mark, kind in _TORCHVISION.items() if mark in tensors), None)
    if kind is None:
        return None
    names = import_optional("torchvision.models").list_models()
    matching = [name for name in names if name.startswith(kind) and _matches(name, tensors)]
    return f"torchvision:{matching[0]}" if len(matching) == 1 else None


def named_by(arch: str | None) -> str | None:
    """`timm:NAME` where the network's name in the file is one of timm's. None where timm is not installed, too."""
    if arch is None:
        return None
    try:
        timm = import_optional("timm")
    except CheckpointError:
        return None
    return f"timm:{arch}" if timm.is_model(arch) else None


def _matches(name: str, tensors: Tensors) -> bool:
    network = weightless(lambda: _build("torchvision", name))
    head = _last(network)
    expected = {key: value.shape for key, value in network.state_dict().items() if not key.startswith(head)}
    return expected == {key: value.shape for key, value in tensors.items() if not key.startswith(head)}


def _checked(arch: str) -> tuple[str, str]:
    """The library and the name. Raises CheckpointError where the library has no such network."""
    library, _, name = arch.partition(":")
    module = import_optional("timm" if library == "timm" else "torchvision.models")
    plain = name.partition(".")[0]
    names = module.list_models()
    if plain not in names:
        near = difflib.get_close_matches(plain, names, 3)
        hint = f": did you mean {' or '.join(near)}?" if near else f": choose one from {library}'s list_models()."
        raise CheckpointError(f"{library} has no network '{plain}'{hint}")
    return library, name


def _build(library: str, name: str, **options: Any) -> nn.Module:
    network: nn.Module
    if library == "timm":
        network = import_optional("timm").create_model(name, pretrained=False, **options)
    else:
        network = import_optional("torchvision.models").get_model(name, weights=None, **options)
    return network


def _head(library: str, name: str) -> str:
    return _last(weightless(lambda: _build(library, name.partition(".")[0])))


def _last(network: nn.Module) -> str:
    """The name of the last linear layer."""
    return [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
