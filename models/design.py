"""Design: which network some tensors make up, before it is built."""

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import nn

Variant = Literal["A", "B", "C", "D"]
"""Where a residual network strides and how it pools after a 7x7 or deep stem: no tensor shows it.

A: stride in the 3x3 convolution, pooling padded by 1 (timm, torchvision, MMPretrain, moskomule, NVIDIA, Paddle).
B: stride in the first 1x1, pooling unpadded and rounded up (the original Caffe SE-ResNets, Cadene).
C: stride in the first 1x1, pooling padded by 1 (pytorchcv's nets without a `b`).
D: stride in the 3x3, pooling unpadded and rounded up (the original Caffe SE-ResNeXts and SENet-154, Cadene).
"""

StemKind = Literal["7x7", "3x3s2", "3x3s1", "deep"]
"""The first convolution: 7x7 of stride 2 and pooling; one 3x3 of stride 2 or 1 and none; three 3x3 and pooling."""

SEPlace = Literal["standard", "pre", "post", "identity"]
"""Where the SE block of a residual unit stands: Hu et al. (arXiv 1709.01507), figure 5."""


@dataclass(frozen=True)
class Traits:
    """What the tensors of a network do not show. None: not known, or of no meaning for the network."""

    variant: Variant | None = None
    stem: StemKind | None = None
    se_place: SEPlace | None = None
    epsilon: float = 1e-5  # of the BatchNorms
    relu_before_se: bool = False  # in basic units: timm's `legacy_seresnet18` and `34` were trained so


class Design(Protocol):
    """A network told by numbers: a frozen record of widths and traits that can build it."""

    @property
    def name(self) -> str:
        """As the field calls it, e.g. `seresnet50`."""
        ...

    @property
    def classes(self) -> int: ...

    @property
    def traits(self) -> Traits:
        """Those that were used."""
        ...

    def build(self) -> nn.Module:
        """The network with unset weights: normalised images (n, 3, h, w) to logits (n, classes)."""
        ...
