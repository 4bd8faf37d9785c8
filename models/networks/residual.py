"""Residual units: the basic block and the bottleneck of ResNets, with or without a squeeze-and-excitation block."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from models.networks.design import SEPlace, Traits
from models.networks.se import SEBlock

BlockKind = Literal["basic", "bottleneck"]
Shortcut = Literal["none", "1x1", "3x3", "average"]
"""What the skip connection does: nothing, a convolution, or a 2x2 average and then a 1x1 convolution."""


@dataclass(frozen=True)
class BlockSpec:
    """One residual unit.

    Channels: `inputs` into the unit, `reduced` after its first convolution, `inside` after the second one (of a
    bottleneck), `outputs` out of it. `squeezed` is the width inside the SE block, None where the unit has no SE block.
    `stride` is that of the whole unit.
    """

    kind: BlockKind
    inputs: int
    reduced: int
    inside: int
    outputs: int
    stride: int
    shortcut: Shortcut
    squeezed: int | None
    se_bias: bool = True
    groups: int = 1


class ResidualUnit(nn.Module):
    """What basic and bottleneck units share: relu(branch(x) + shortcut(x)), with an SE block at one of four places.

    Maps (n, inputs, h, w) to (n, outputs, h / stride, w / stride). Places: Hu et al. (arXiv 1709.01507), figure 5.
    """

    def __init__(self, block: BlockSpec, traits: Traits) -> None:
        super().__init__()
        self.downsample = _shortcut(block, traits.epsilon)
        self.se_place: SEPlace = traits.se_place or "standard"
        channels = block.inputs if self.se_place == "pre" else block.outputs
        self.se = SEBlock(channels, block.squeezed, block.se_bias) if block.squeezed else nn.Identity()

    def branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        skipped = self.downsample(x)
        match self.se_place:
            case "standard":
                return F.relu(self.se(self.branch(x)) + skipped)
            case "pre":
                return F.relu(self.branch(self.se(x)) + skipped)
            case "post":
                return self.se(F.relu(self.branch(x) + skipped))
            case "identity":
                return F.relu(self.branch(x) + self.se(skipped))


class BasicBlock(ResidualUnit):
    """Two 3x3 convolutions; the first one strides."""

    def __init__(self, block: BlockSpec, traits: Traits) -> None:
        super().__init__(block, traits)
        self.conv1 = conv(block.inputs, block.reduced, 3, block.stride)
        self.bn1 = nn.BatchNorm2d(block.reduced, traits.epsilon)
        self.conv2 = conv(block.reduced, block.outputs, 3)
        self.bn2 = nn.BatchNorm2d(block.outputs, traits.epsilon)
        self.relu_last = traits.relu_before_se

    def branch(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return F.relu(x) if self.relu_last else x


class Bottleneck(ResidualUnit):
    """1x1, 3x3 and 1x1 convolutions. The 3x3 strides (variants A and D), or the first 1x1 does (variants B and C)."""

    def __init__(self, block: BlockSpec, traits: Traits) -> None:
        super().__init__(block, traits)
        first, second = (block.stride, 1) if traits.variant in ("B", "C") else (1, block.stride)
        self.conv1 = conv(block.inputs, block.reduced, 1, first)
        self.bn1 = nn.BatchNorm2d(block.reduced, traits.epsilon)
        self.conv2 = conv(block.reduced, block.inside, 3, second, block.groups)
        self.bn2 = nn.BatchNorm2d(block.inside, traits.epsilon)
        self.conv3 = conv(block.inside, block.outputs, 1)
        self.bn3 = nn.BatchNorm2d(block.outputs, traits.epsilon)

    def branch(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


def residual_unit(block: BlockSpec, traits: Traits) -> ResidualUnit:
    """The unit that the spec describes, with unset weights."""
    return BasicBlock(block, traits) if block.kind == "basic" else Bottleneck(block, traits)


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size of its input where `stride` is 1."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


def _shortcut(block: BlockSpec, epsilon: float) -> nn.Module:
    match block.shortcut:
        case "none":
            return nn.Identity()
        case "average":  # ResNet-D: He et al., "Bag of Tricks" (arXiv 1812.01187), figure 2c
            pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False) if block.stride > 1 else nn.Identity()
            return nn.Sequential(pool, conv(block.inputs, block.outputs, 1), nn.BatchNorm2d(block.outputs, epsilon))
    kernel = 3 if block.shortcut == "3x3" else 1
    convolution = conv(block.inputs, block.outputs, kernel, block.stride)
    return nn.Sequential(convolution, nn.BatchNorm2d(block.outputs, epsilon))
