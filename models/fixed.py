"""Networks of fixed widths: only the number of classes and the SE blocks differ from file to file."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from models.design import Traits
from models.errors import CheckpointError
from models.se import SEBlock, se_modules
from models.shell import shell
from models.tensors import Tensors, kernel, width

MakeSE = Callable[[int], nn.Module]
"""From a number of channels to the SE block that weighs them; asked once a block, from the input to the output."""

Construct = Callable[[int, MakeSE], nn.Module]
"""From the number of classes and a maker of SE blocks to a network: normalised images (n, 3, h, w) to logits."""


@dataclass(frozen=True)
class FixedDesign:
    """One network of a family: its classes, and the squeezed channels of each SE block; a `models.design.Design`."""

    family: "Family"
    classes: int
    squeezed: tuple[int, ...]
    se_bias: bool = True

    @property
    def name(self) -> str:
        return self.family.name

    @property
    def traits(self) -> Traits:
        return Traits()

    def build(self) -> nn.Module:
        widths = iter(self.squeezed)
        return self.family.construct(self.classes, lambda channels: SEBlock(channels, next(widths), self.se_bias))


@dataclass(frozen=True)
class Family:
    """A network of the paper in all its reductions. `mark` is a tensor that only it has, `head` its last layer.

    `size` and `resize_to` are pixels, as the paper evaluates it (table 2).
    """

    name: str
    construct: Construct
    mark: str
    head: str
    size: int = 224
    resize_to: int = 256

    def recognises(self, tensors: Tensors) -> bool:
        return self.mark in tensors

    def paper(self, classes: int = 1000, reduction: int = 16) -> FixedDesign:
        """The network with SE blocks that squeeze to one `reduction`-th of their channels."""
        squeezed = []

        def counted(channels: int) -> nn.Module:
            squeezed.append(max(channels // reduction, 1))
            return nn.Identity()

        shell(lambda: self.construct(classes, counted))
        return FixedDesign(self, classes, tuple(squeezed))

    def read(self, tensors: Tensors, traits: Traits) -> FixedDesign:
        """The network that the tensors make up. Raises CheckpointError where a tensor that tells a width is missing."""
        names = [name for name, _, _ in se_modules(shell(self.paper().build))]
        if not any(re.search(r"\.se\.fc1\.weight$", key) for key in tensors):
            raise CheckpointError(f"The tensors of this {self.name} have no SE block: give a network that has.")
        bias = any(re.search(r"\.se\.fc\d\.bias$", key) for key in tensors)
        squeezed = [
            width(tensors, f"{name}.fc1.bias") if bias else kernel(tensors, f"{name}.fc1.weight")[0] for name in names
        ]
        return FixedDesign(self, width(tensors, f"{self.head}.bias"), tuple(squeezed), bias)
