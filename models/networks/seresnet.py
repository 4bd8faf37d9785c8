"""SE-ResNet: residual networks with squeeze-and-excitation blocks, and the spec that describes one of them.

SE-ResNet, SE-ResNeXt, SENet-154, their variants with deep stems and for CIFAR, and the same networks without SE.
Parameters have timm's names (`conv1`, `layer1.0.se.fc1`, `fc`). These names are the canonical form: `models.formats`
renames the tensors of every other format to them.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from models.networks.design import SEPlace, StemKind, Traits, Variant
from models.networks.residual import BlockSpec, conv, residual_unit


@dataclass(frozen=True)
class SEResNetSpec:
    """All that distinguishes one network of this kind from another; a `models.networks.design.Design`.

    `stem_channels` has the output channels of the stem's one or three convolutions, `stages` the units of each stage.
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
        """Layers with weights on the longest path; the stem counts as one. He et al. (arXiv 1512.03385), table 1."""
        return 2 + sum(map(len, self.stages)) * (2 if self.stages[0][0].kind == "basic" else 3)

    @property
    def name(self) -> str:
        """timm's name for it: `seresnet50`, `seresnext26d_32x4d`, `senet154`."""
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
    """The network that a spec describes; `forward` maps normalised images (n, 3, h, w) to logits (n, classes)."""

    def __init__(self, spec: SEResNetSpec) -> None:
        super().__init__()
        self.conv1 = _stem(spec)
        self.bn1 = nn.BatchNorm2d(spec.stem_channels[-1], spec.epsilon)
        self.maxpool = _pool(spec)
        for number, blocks in enumerate(spec.stages, start=1):
            self.add_module(f"layer{number}", nn.Sequential(*(residual_unit(block, spec.traits) for block in blocks)))
        self.stages = len(spec.stages)
        self.fc = nn.Linear(spec.stages[-1][-1].outputs, spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.maps(x, self.stages)[-1].mean((2, 3)))

    def maps(self, x: Tensor, stages: int) -> list[Tensor]:
        """What each of the first stages gives for normalised images: (n, channels, rows, columns), one per stage."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        maps = []
        for number in range(1, stages + 1):
            x = self.get_submodule(f"layer{number}")(x)
            maps.append(x)
        return maps


def _stem(spec: SEResNetSpec) -> nn.Module:
    if spec.stem == "deep":
        first, second, third = spec.stem_channels
        inner = (nn.BatchNorm2d(first, spec.epsilon), nn.ReLU(), conv(first, second, 3))
        return nn.Sequential(
            conv(3, first, 3, 2), *inner, nn.BatchNorm2d(second, spec.epsilon), nn.ReLU(), conv(second, third, 3)
        )
    kernel, stride = {"7x7": (7, 2), "3x3s2": (3, 2), "3x3s1": (3, 1)}[spec.stem]
    return conv(3, spec.stem_channels[0], kernel, stride)


def _pool(spec: SEResNetSpec) -> nn.Module:
    if spec.stem in ("3x3s1", "3x3s2"):
        return nn.Identity()
    if spec.variant in ("B", "D"):  # as Caffe pools: no padding, and windows that cross the right or lower edge count
        return nn.MaxPool2d(3, 2, ceil_mode=True)
    return nn.MaxPool2d(3, 2, padding=1)
