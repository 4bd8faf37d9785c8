"""SE-ResNet and its kin: residual networks whose units are weighed by squeeze-and-excitation blocks.

SE-ResNet, SE-ResNeXt, SENet-154, their deep-stemmed and CIFAR forms, and the same networks without SE. Parameter names
are timm's (`conv1`, `layer1.0.se.fc1`, `fc`): they are the canonical form, into which the readers of `models.formats`
rename every other format.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from models.design import SEPlace, StemKind, Traits, Variant
from models.se import SEBlock

BlockKind = Literal["basic", "bottleneck"]
Shortcut = Literal["none", "1x1", "3x3", "average"]
"""What the skip connection does: nothing, a convolution, or a 2x2 average and then a 1x1 convolution."""


@dataclass(frozen=True)
class BlockSpec:
    """One residual unit: channels in, after its first convolution, after the second of a bottleneck, and out.

    `squeezed` is the SE width, None where the unit has no SE block; `stride` that of the whole unit.
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


@dataclass(frozen=True)
class SEResNetSpec:
    """Everything that tells one network of the family from another, a `models.design.Design`.

    `stem_channels` holds the widths of the stem's one or three convolutions, `stages` the units of each stage.
    """

    variant: Variant
    stem: StemKind
    stem_channels: tuple[int, ...]
    stages: tuple[tuple[BlockSpec, ...], ...]
    classes: int
    se_place: SEPlace = "standard"
    epsilon: float = 1e-5
    relu_before_se: bool = False

    @property
    def traits(self) -> Traits:
        return Traits(self.variant, self.stem, self.se_place, self.epsilon, self.relu_before_se)

    @property
    def depth(self) -> int:
        """Layers with weights on the longest path, the stem counted as one: He et al. (arXiv 1512.03385), table 1."""
        return 2 + sum(map(len, self.stages)) * (2 if self.stages[0][0].kind == "basic" else 3)

    @property
    def name(self) -> str:
        """As timm calls it: `seresnet50`, `seresnext26d_32x4d`, `senet154`."""
        first, units = self.stages[0][0], [block for stage in self.stages for block in stage]
        se = "se" if any(unit.squeezed for unit in units) else ""
        if self.stem == "deep" and any(unit.shortcut == "3x3" for unit in units):
            return f"{se}net{self.depth + 2}"  # SENet-154 counts each convolution of its stem
        tiered = "t" if self.stem == "deep" and self.stem_channels[0] != self.stem_channels[1] else ""
        deep = tiered or ("d" if any(unit.shortcut == "average" for unit in units) else "s")
        letter = deep if self.stem == "deep" else ""
        if first.groups > 1:
            return f"{se}resnext{self.depth}{letter}_{first.groups}x{first.inside // first.groups}d"
        return f"{se}resnet{self.depth}{letter}"

    def build(self) -> "SEResNet":
        return SEResNet(self)


class SEResNet(nn.Module):
    """A network as its spec says; `forward` maps normalised images (n, 3, h, w) to logits (n, classes)."""

    def __init__(self, spec: SEResNetSpec) -> None:
        super().__init__()
        self.conv1 = _stem(spec)
        self.bn1 = nn.BatchNorm2d(spec.stem_channels[-1], spec.epsilon)
        self.maxpool = _pool(spec)
        for number, blocks in enumerate(spec.stages, start=1):
            self.add_module(f"layer{number}", nn.Sequential(*(_unit(block, spec) for block in blocks)))
        self.stages = len(spec.stages)
        self.fc = nn.Linear(spec.stages[-1][-1].outputs, spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for number in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return self.fc(x.mean((2, 3)))


class _Unit(nn.Module):
    """What basic and bottleneck units share: relu(branch(x) + shortcut(x)), and an SE block at one of four places."""

    def __init__(self, block: BlockSpec, spec: SEResNetSpec) -> None:
        super().__init__()
        self.downsample = _shortcut(block, spec.epsilon)
        self.place = spec.se_place
        channels = block.inputs if spec.se_place == "pre" else block.outputs
        self.se = SEBlock(channels, block.squeezed, block.se_bias) if block.squeezed else nn.Identity()

    def branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        skipped = self.downsample(x)
        match self.place:
            case "standard":
                return F.relu(self.se(self.branch(x)) + skipped)
            case "pre":
                return F.relu(self.branch(self.se(x)) + skipped)
            case "post":
                return self.se(F.relu(self.branch(x) + skipped))
            case "identity":
                return F.relu(self.branch(x) + self.se(skipped))


class BasicBlock(_Unit):
    """Two 3x3 convolutions, the stride in the first."""

    def __init__(self, block: BlockSpec, spec: SEResNetSpec) -> None:
        super().__init__(block, spec)
        self.conv1 = _conv(block.inputs, block.reduced, 3, block.stride)
        self.bn1 = nn.BatchNorm2d(block.reduced, spec.epsilon)
        self.conv2 = _conv(block.reduced, block.outputs, 3)
        self.bn2 = nn.BatchNorm2d(block.outputs, spec.epsilon)
        self.relu_last = spec.relu_before_se

    def branch(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return F.relu(x) if self.relu_last else x


class Bottleneck(_Unit):
    """1x1, 3x3, 1x1 convolutions, the stride in the 3x3 (variants A and D) or in the first 1x1 (B and C)."""

    def __init__(self, block: BlockSpec, spec: SEResNetSpec) -> None:
        super().__init__(block, spec)
        first, second = (block.stride, 1) if spec.variant in ("B", "C") else (1, block.stride)
        self.conv1 = _conv(block.inputs, block.reduced, 1, first)
        self.bn1 = nn.BatchNorm2d(block.reduced, spec.epsilon)
        self.conv2 = _conv(block.reduced, block.inside, 3, second, block.groups)
        self.bn2 = nn.BatchNorm2d(block.inside, spec.epsilon)
        self.conv3 = _conv(block.inside, block.outputs, 1)
        self.bn3 = nn.BatchNorm2d(block.outputs, spec.epsilon)

    def branch(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


def _unit(block: BlockSpec, spec: SEResNetSpec) -> _Unit:
    return BasicBlock(block, spec) if block.kind == "basic" else Bottleneck(block, spec)


def _stem(spec: SEResNetSpec) -> nn.Module:
    if spec.stem == "deep":
        first, second, third = spec.stem_channels
        inner = (nn.BatchNorm2d(first, spec.epsilon), nn.ReLU(), _conv(first, second, 3))
        return nn.Sequential(
            _conv(3, first, 3, 2), *inner, nn.BatchNorm2d(second, spec.epsilon), nn.ReLU(), _conv(second, third, 3)
        )
    kernel, stride = {"7x7": (7, 2), "3x3s2": (3, 2), "3x3s1": (3, 1)}[spec.stem]
    return _conv(3, spec.stem_channels[0], kernel, stride)


def _pool(spec: SEResNetSpec) -> nn.Module:
    if spec.stem in ("3x3s1", "3x3s2"):
        return nn.Identity()
    if spec.variant in ("B", "D"):  # as Caffe pools: windows over the right and lower rim count, and nothing is padded
        return nn.MaxPool2d(3, 2, ceil_mode=True)
    return nn.MaxPool2d(3, 2, padding=1)


def _shortcut(block: BlockSpec, epsilon: float) -> nn.Module:
    match block.shortcut:
        case "none":
            return nn.Identity()
        case "average":  # ResNet-D: He et al., "Bag of Tricks" (arXiv 1812.01187), figure 2c
            shrunk = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False) if block.stride > 1 else nn.Identity()
            return nn.Sequential(shrunk, _conv(block.inputs, block.outputs, 1), nn.BatchNorm2d(block.outputs, epsilon))
    kernel = 3 if block.shortcut == "3x3" else 1
    convolution = _conv(block.inputs, block.outputs, kernel, block.stride)
    return nn.Sequential(convolution, nn.BatchNorm2d(block.outputs, epsilon))
