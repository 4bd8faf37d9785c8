"""Format: how one training code names tensors, and how it prepares photos for the network."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from models.checkpoint import Checkpoint
from models.evaluation import EvaluationTransform
from models.formats.names import Names
from models.networks.design import Design, Traits
from models.seresnet_reader import read
from models.tensors import Tensors

FindTraits = Callable[[Tensors, Checkpoint], Traits]
"""Finds what no tensor's shape shows, from the tensors under canonical names and the checkpoint they came from."""


def always(traits: Traits) -> FindTraits:
    """A function that returns the same traits for every file."""
    return lambda tensors, source: traits


@dataclass(frozen=True)
class Format:
    """Recognises tensors by their names, renames them to the canonical names, and states what they do not show.

    `marks` are regular expressions. Each of them must match the whole name of a tensor. `transposed` matches the
    canonical names of weights that the format stores as (in, out). `labels` is the label set whose order the classes of
    its published weights have. `read` makes the design of the network from canonical tensors and traits.
    """

    name: str
    marks: tuple[str, ...]
    names: Names
    traits: FindTraits
    transform: EvaluationTransform = EvaluationTransform()
    transposed: str = ""
    labels: str = "imagenet-1k"
    read: Callable[[Tensors, Traits], Design] = read

    def recognises(self, tensors: Tensors) -> bool:
        return all(any(re.fullmatch(mark, key) for key in tensors) for mark in self.marks)

    def canonical(self, tensors: Tensors) -> Tensors:
        """The tensors under canonical names; unknown names stay. SE weights (out, in) become (out, in, 1, 1)."""
        renamed = {}
        for key, value in tensors.items():
            name = self.names.ours(key) or key
            if self.transposed and value.ndim == 2 and re.fullmatch(self.transposed, name):
                value = value.T
            if value.ndim == 2 and re.search(r"\.se\.fc\d\.weight$", name):
                value = value[:, :, None, None]
            renamed[name] = value
        return renamed

    def original(self, name: str) -> str:
        """The format's own name of a canonical tensor."""
        return self.names.theirs(name) or name
