"""Format: how one family of training code names tensors, and what it does to photos before the network sees them."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from models.checkpoint import Checkpoint
from models.design import Design, Traits
from models.fit import Fit
from models.formats.names import Names
from models.reading import read
from models.tensors import Tensors

Told = Callable[[Tensors, Checkpoint], Traits]
"""What a format knows besides the tensors, given those under canonical names and the file they came from."""


def always(traits: Traits) -> Told:
    """The same traits for every file."""
    return lambda tensors, source: traits


@dataclass(frozen=True)
class Format:
    """One reader: recognises tensors by their names, renames them to the canonical form, states what they hide.

    `marks` are expressions, each of which must match the whole name of some tensor. `transposed` are canonical names
    that the format holds as (in, out). `labels` is the class order of its published thousand-class weights.
    """

    name: str
    marks: tuple[str, ...]
    names: Names
    traits: Told
    fit: Fit = Fit()
    transposed: str = ""
    labels: str = "imagenet-1k"
    read: Callable[[Tensors, Traits], Design] = read

    def recognises(self, tensors: Tensors) -> bool:
        return all(any(re.fullmatch(mark, key) for key in tensors) for mark in self.marks)

    def canonical(self, tensors: Tensors) -> Tensors:
        """The tensors under canonical names, those of unknown name as they are; 2-D weights of SE blocks as 1x1."""
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
        """What the format calls a canonical tensor."""
        return self.names.theirs(name) or name
