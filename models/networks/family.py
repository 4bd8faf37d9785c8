"""Family: a network with fixed widths. Only its number of classes and its SE blocks differ from file to file."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from models.errors import CheckpointError
from models.networks.design import Traits
from models.networks.se import SEBlock, se_modules
from models.tensors import Tensors, kernel, width
from models.weightless import weightless

MakeSE = Callable[[int], nn.Module]
"""Makes the SE block for so many channels. It is called once for each block, in order from the input to the output."""

Construct = Callable[[int, MakeSE], nn.Module]
"""Makes a network of so many classes with SE blocks from a maker: normalised images (n, 3, h, w) to logits."""


@dataclass(frozen=True)
class FixedDesign:
    """One network of a family, by its number of classes and the channels inside each SE block; a `Design`."""

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
    """A network of the SE paper (Hu et al., arXiv 1709.01507) with any widths inside its SE blocks.

    `mark` is the name of a tensor that only this network has, `head` the name of its last layer. `size` and
    `resize_to` are the side lengths, in pixels, at which the paper evaluates the network (table 2).
    """

    name: str
    construct: Construct
    mark: str
    head: str
    size: int = 224
    resize_to: int = 256

    def recognises(self, tensors: Tensors) -> bool:
        return self.mark in tensors

    def design(self, classes: int = 1000, reduction: int = 16) -> FixedDesign:
        """The network whose SE blocks have `channels // reduction` channels inside, at least 1."""
        squeezed = []

        def count(channels: int) -> nn.Module:
            squeezed.append(max(channels // reduction, 1))
            return nn.Identity()

        weightless(lambda: self.construct(classes, count))
        return FixedDesign(self, classes, tuple(squeezed))

    def read(self, tensors: Tensors, traits: Traits) -> FixedDesign:
        """The network that the tensors belong to.

        Raises CheckpointError where there is no SE block, or a tensor that shows a width is missing.
        """
        names = [name for name, _, _ in se_modules(weightless(self.design().build))]
        if not any(re.search(r"\.se\.fc1\.weight$", key) for key in tensors):
            raise CheckpointError(
                f"The tensors of this {self.name} have no SE block: give the checkpoint of a network that has them."
            )
        bias = any(re.search(r"\.se\.fc\d\.bias$", key) for key in tensors)
        squeezed = [
            width(tensors, f"{name}.fc1.bias") if bias else kernel(tensors, f"{name}.fc1.weight")[0] for name in names
        ]
        return FixedDesign(self, width(tensors, f"{self.head}.bias"), tuple(squeezed), bias)
