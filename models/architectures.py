"""Architectures: designs of the networks in Hu et al., "Squeeze-and-Excitation Networks" (arXiv 1709.01507)."""

from collections.abc import Callable
from dataclasses import replace

from models.networks.design import Design, SEPlace, StemKind, Variant
from models.networks.residual import BlockSpec, Shortcut
from models.networks.sebninception import SE_BN_INCEPTION
from models.networks.seinceptionresnet import SE_INCEPTION_RESNET_V2
from models.networks.semobilenet import SE_MOBILENET
from models.networks.seresnet import SEResNetSpec
from models.networks.seshufflenet import SE_SHUFFLENET
from models.networks.sevgg import SE_VGG_16
from models.seresnet_reader import DEPTHS

Squeeze = Callable[[int], int | None]
"""From the channels of an SE block to the channels inside it; None for no SE block."""


def reduced_by(reduction: int) -> Squeeze:
    """`channels // reduction`. The paper uses a reduction of 16 (section 6.1)."""
    return lambda channels: channels // reduction


SIXTEENTH = reduced_by(16)


def none(channels: int) -> None:
    """No SE blocks, as in the paper's baselines."""
    return


def seresnet(
    depth: int,
    *,
    classes: int = 1000,
    width: int = 64,
    squeeze: Squeeze = SIXTEENTH,
    groups: int = 1,
    variant: Variant = "A",
    stem: StemKind = "7x7",
    stem_channels: tuple[int, ...] = (64,),
    shortcut: Shortcut = "1x1",
    se_bias: bool = True,
    se_place: SEPlace = "standard",
) -> SEResNetSpec:
    """An SE-ResNet, or with groups an SE-ResNeXt, whose units are twice as wide inside.

    `width` is the number of channels inside the units of stage 1. Raises KeyError for an unknown depth.
    """
    kind, counts = next((key for key, value in DEPTHS.items() if value.partition(",")[0] == str(depth)), (None, ()))
    if kind is None:
        raise KeyError(depth)
    spread = 2 if groups > 1 else 1
    stages, inputs = [], stem_channels[-1]
    for number, count in enumerate(counts):
        inside, outputs = width * spread * 2**number, width * 2**number * (1 if kind == "basic" else 4)
        unit = BlockSpec(kind, inputs, inside, inside, outputs, 1, "none", None, se_bias, groups)
        stages.append(_stage(unit, count, 1 if number == 0 else 2, shortcut, squeeze, se_place))
        inputs = outputs
    return SEResNetSpec(variant, stem, stem_channels, tuple(stages), classes, se_place)


def senet154(classes: int = 1000, squeeze: Squeeze = SIXTEENTH, variant: Variant = "D") -> SEResNetSpec:
    """SENet-154: 64 groups, half the channels in each first 1x1, a deep stem, 3x3 shortcuts (appendix, "SENet-154")."""
    stages, inputs = [], 128
    for number, count in enumerate((3, 8, 36, 3)):
        outputs = 256 * 2**number
        shortcut: Shortcut = "1x1" if number == 0 else "3x3"
        unit = BlockSpec("bottleneck", inputs, outputs // 2, outputs, outputs, 1, "none", None, groups=64)
        stages.append(_stage(unit, count, 1 if number == 0 else 2, shortcut, squeeze, "standard"))
        inputs = outputs
    return SEResNetSpec(variant, "deep", (64, 64, 128), tuple(stages), classes)


def _stage(
    unit: BlockSpec, count: int, stride: int, shortcut: Shortcut, squeeze: Squeeze, place: SEPlace
) -> tuple[BlockSpec, ...]:
    """`count` units. The first may stride and widen, and then its shortcut has a convolution; the others are alike."""
    units = []
    for index in range(count):
        inputs, step = (unit.inputs, stride) if index == 0 else (unit.outputs, 1)
        units.append(
            replace(
                unit,
                inputs=inputs,
                stride=step,
                shortcut=shortcut if step > 1 or inputs != unit.outputs else "none",
                squeezed=squeeze(inputs if place == "pre" else unit.outputs),
            )
        )
    return tuple(units)


NETWORKS: dict[str, Callable[[], Design]] = {
    "seresnet50": lambda: seresnet(50),
    "seresnet101": lambda: seresnet(101),
    "seresnet152": lambda: seresnet(152),
    "seresnext50_32x4d": lambda: seresnet(50, groups=32),
    "seresnext101_32x4d": lambda: seresnet(101, groups=32),
    "senet154": senet154,
    **{
        family.name: family.design
        for family in (SE_VGG_16, SE_BN_INCEPTION, SE_INCEPTION_RESNET_V2, SE_MOBILENET, SE_SHUFFLENET)
    },
}
"""The paper's SE networks for ImageNet, by name."""
