"""SE-ResNet: residual blocks whose last BatchNorm is followed by a squeeze-and-excitation block.

Parameter names are timm's (`conv1`, `layer1.0.se.fc1`, `fc`): they are this project's canonical form, into which the
readers of `models.formats` rename every other format.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from models.se import SEBlock

BlockKind = Literal["basic", "bottleneck"]
StemKind = Literal["7x7", "3x3s2", "3x3s1"]

DEPTHS: dict[tuple[BlockKind, tuple[int, ...]], int] = {
    ("basic", (2, 2, 2, 2)): 18,
    ("basic", (3, 4, 6, 3)): 34,
    ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101,
    ("bottleneck", (3, 8, 36, 3)): 152,
}
"""(block, blocks of each stage) → layers with weights; He et al., "Deep Residual Learning", table 1."""


@dataclass(frozen=True)
class BlockSpec:
    """One residual block: channels in, inside and out, the SE width, and whether its shortcut has a convolution."""

    kind: BlockKind
    inputs: int
    inside: int
    outputs: int
    squeezed: int
    stride: int
    projection: bool


@dataclass(frozen=True)
class SEResNetSpec:
    """Everything that tells one SE-ResNet from another. `stages` holds the blocks of each stage, first to last."""

    stem: StemKind
    stem_channels: int
    stages: tuple[tuple[BlockSpec, ...], ...]
    classes: int

    @property
    def name(self) -> str:
        return f"seresnet{DEPTHS[self.stages[0][0].kind, tuple(map(len, self.stages))]}"


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class _Block(nn.Module):
    """What basic and bottleneck blocks share: relu(se(branch(x)) + shortcut(x))."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.se = SEBlock(spec.outputs, spec.squeezed)
        self.downsample = (
            nn.Sequential(_conv(spec.inputs, spec.outputs, 1, spec.stride), nn.BatchNorm2d(spec.outputs))
            if spec.projection
            else nn.Identity()
        )

    def branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.se(self.branch(x)) + self.downsample(x))


class BasicBlock(_Block):
    """Two 3x3 convolutions, the stride in the first."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__(spec)
        self.conv1 = _conv(spec.inputs, spec.inside, 3, spec.stride)
        self.bn1 = nn.BatchNorm2d(spec.inside)
        self.conv2 = _conv(spec.inside, spec.outputs, 3)
        self.bn2 = nn.BatchNorm2d(spec.outputs)

    def branch(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x))


class Bottleneck(_Block):
    """1x1, 3x3, 1x1 convolutions, the stride in the 3x3 (variant A: timm, torchvision's trunks, MMPretrain)."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__(spec)
        self.conv1 = _conv(spec.inputs, spec.inside, 1)
        self.bn1 = nn.BatchNorm2d(spec.inside)
        self.conv2 = _conv(spec.inside, spec.inside, 3, spec.stride)
        self.bn2 = nn.BatchNorm2d(spec.inside)
        self.conv3 = _conv(spec.inside, spec.outputs, 1)
        self.bn3 = nn.BatchNorm2d(spec.outputs)

    def branch(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


BLOCKS: dict[BlockKind, type[_Block]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


class SEResNet(nn.Module):
    """An SE-ResNet as its spec says; `forward` maps normalised images (n, 3, h, w) to logits (n, classes)."""

    def __init__(self, spec: SEResNetSpec) -> None:
        super().__init__()
        kernel, stride = (7, 2) if spec.stem == "7x7" else (3, int(spec.stem[-1]))
        self.conv1 = _conv(3, spec.stem_channels, kernel, stride)
        self.bn1 = nn.BatchNorm2d(spec.stem_channels)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if spec.stem == "7x7" else nn.Identity()
        for number, blocks in enumerate(spec.stages, start=1):
            self.add_module(f"layer{number}", nn.Sequential(*(BLOCKS[block.kind](block) for block in blocks)))
        self.stages = len(spec.stages)
        self.fc = nn.Linear(spec.stages[-1][-1].outputs, spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for number in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return self.fc(x.mean((2, 3)))


def se_blocks(network: nn.Module) -> Iterator[tuple[str, SEBlock]]:
    """The SE blocks of any network, by module name, in order."""
    return ((name, module) for name, module in network.named_modules() if isinstance(module, SEBlock))
