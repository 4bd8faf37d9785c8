"""Design: what network a set of tensors belongs to, before the network is built."""

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import nn

Variant = Literal["A", "B", "C", "D"]
"""Where a residual network strides, and how it pools after a 7x7 or deep stem. No tensor shows either.

A: stride in the 3x3 convolution, pooling padded by 1 (timm, torchvision, MMPretrain, moskomule, NVIDIA, Paddle).
B: stride in the first 1x1, pooling unpadded and rounded up (the original Caffe SE-ResNets, Cadene).
C: stride in the first 1x1, pooling padded by 1 (pytorchcv's nets without a `b`).
D: stride in the 3x3, pooling unpadded and rounded up (the original Caffe SE-ResNeXts and SENet-154, Cadene).
"""

StemKind = Literal["7x7", "3x3s2", "3x3s1", "deep"]
"""The first layers: a 7x7 convolution of stride 2 and pooling; a 3x3 of stride 2 or 1 without pooling; or `deep`: three
3x3 convolutions and pooling."""

SEPlace = Literal["standard", "pre", "post", "identity"]
"""Where a residual unit has its SE block: Hu et al. (arXiv 1709.01507), figure 5."""


@dataclass(frozen=True)
class Traits:
    """What the tensors of a network do not show. None: not known, or the network has no such trait."""

    variant: Variant | None = None
    stem: StemKind | None = None
    se_place: SEPlace | None = None
    epsilon: float = 1e-5  # of the BatchNorms
    relu_before_se: bool = False  # in basic units; timm's `legacy_seresnet18` and `legacy_seresnet34` were trained so


class Design(Protocol):
    """A network described by its widths and traits: an immutable record that can build the network."""

    @property
    def name(self) -> str:
        """The usual name of the network, e.g. `seresnet50`."""
        ...

    @property
    def classes(self) -> int:
        """The number of outputs."""
        ...

    @property
    def traits(self) -> Traits:
        """The traits that `build` uses."""
        ...

    def build(self) -> nn.Module:
        """The network with unset weights: normalised images (n, 3, h, w) to logits (n, classes)."""
        ...
