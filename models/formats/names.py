"""Names: translates between the tensor names of a training code and the canonical names, both ways."""

import re
from collections.abc import Mapping

_NUMBER = re.compile(r"\{(\w+?)(?:([+-]\d+))?\}")


class Names:
    """Pairs of templates: theirs, ours. In a template, `{block}` stands for a number and `{block+1}` for the next one.

    A template names a module. The last part of a tensor's name (`weight`, `running_mean`) stays, unless `leaves`
    translates it. The first pair that matches is used.
    """

    def __init__(self, *pairs: tuple[str, str], leaves: Mapping[str, str] | None = None) -> None:
        self._there = [(_pattern(theirs), ours) for theirs, ours in pairs]
        self._back = [(_pattern(ours), theirs) for theirs, ours in pairs]
        self._leaves = dict(leaves or {})
        self._leaves_back = {ours: theirs for theirs, ours in self._leaves.items()}

    def ours(self, name: str) -> str | None:
        """The canonical name of one of their tensors. None where no pair matches."""
        return _translate(name, self._there, self._leaves)

    def theirs(self, name: str) -> str | None:
        """Their name of a canonical tensor. None where no pair matches."""
        return _translate(name, self._back, self._leaves_back)


def _pattern(template: str) -> tuple[re.Pattern[str], dict[str, int]]:
    """A regular expression for the modules of a template, and what the template adds to each of its numbers."""
    shifts = {found[1]: int(found[2] or 0) for found in _NUMBER.finditer(template)}
    literal = _NUMBER.split(template)  # text, name, shift, text, …
    parts = [re.escape(text) for text in literal[::3]]
    numbers = [rf"(?P<{name}>\d+)" for name in literal[1::3]]
    joined = "".join(part + number for part, number in zip(parts, [*numbers, ""], strict=True))
    return re.compile(joined), shifts


def _translate(
    name: str, pairs: list[tuple[tuple[re.Pattern[str], dict[str, int]], str]], leaves: Mapping[str, str]
) -> str | None:
    module, _, leaf = name.rpartition(".")
    for (pattern, shifts), template in pairs:
        found = pattern.fullmatch(module)
        if found:
            numbers = {key: int(value) - shifts[key] for key, value in found.groupdict().items()}
            return f"{_fill(template, numbers)}.{leaves.get(leaf, leaf)}"
    return None


def _fill(template: str, numbers: Mapping[str, int]) -> str:
    return _NUMBER.sub(lambda found: str(numbers[found[1]] + int(found[2] or 0)), template)
