"""SE-ResNet reader: finds the spec of an SE-ResNet from its canonical tensors. Every width is read, none is assumed."""

import re
from collections import Counter
from typing import get_args

from models.errors import CheckpointError
from models.networks.design import StemKind, Traits
from models.networks.residual import BlockKind, BlockSpec, Shortcut
from models.networks.seresnet import SEResNetSpec
from models.tensors import Tensors, count, kernel, width

DEPTHS: dict[tuple[BlockKind, tuple[int, ...]], str] = {
    ("basic", (1, 1, 1, 1)): "10",
    ("basic", (2, 2, 2, 2)): "18",
    ("basic", (3, 4, 6, 3)): "34",
    ("bottleneck", (2, 2, 2, 2)): "26",
    ("bottleneck", (3, 4, 6, 3)): "50",
    ("bottleneck", (3, 4, 23, 3)): "101",
    ("bottleneck", (3, 8, 36, 3)): "152, SENet-154",
    ("bottleneck", (3, 24, 36, 3)): "200",
    ("bottleneck", (3, 30, 48, 8)): "269",
    ("basic", (3, 3, 3)): "20",
    ("basic", (5, 5, 5)): "32",
    ("basic", (7, 7, 7)): "44",
    ("basic", (9, 9, 9)): "56",
    ("basic", (18, 18, 18)): "110",
    ("bottleneck", (18, 18, 18)): "164",
}
"""The depths by (kind of unit, units of each stage): He et al. (arXiv 1512.03385), table 1 and section 4.2 (the last
six, for CIFAR), and timm's and pytorchcv's 10, 26, 200 and 269. A file without its last units matches none of them."""


def read(tensors: Tensors, traits: Traits) -> SEResNetSpec:
    """The spec of the network that the tensors belong to.

    Raises CheckpointError when a tensor that shows a width is missing, the units match no known depth, or `traits` do
    not state what no tensor shows.
    """
    kind, counts = _depth(tensors)
    stem, channels = _stem(tensors, traits.stem)
    grouping = groups(tensors) if kind == "bottleneck" else 1
    inputs, stages = channels[-1], []
    for number, blocks in enumerate(counts, start=1):
        stage = []
        se = any(re.match(rf"layer{number}\.\d+\.se\.", key) for key in tensors)
        for index in range(blocks):
            stride = 2 if number > 1 and index == 0 else 1
            stage.append(_block(tensors, f"layer{number}.{index}", kind, inputs, stride, se, grouping))
            inputs = stage[-1].outputs
        stages.append(tuple(stage))
    if traits.variant is None:
        raise CheckpointError(
            "Neither the tensors nor their names show where the network strides: say --variant A, B, C or D "
            "(a wrong one loads without an error and costs 6 to 80 points of accuracy; "
            "`python -m export diagnose` finds it with labelled photos)."
        )
    return SEResNetSpec(
        variant=traits.variant,
        stem=stem,
        stem_channels=channels,
        stages=tuple(stages),
        classes=width(tensors, "fc.bias"),
        se_place=traits.se_place or "standard",
        epsilon=traits.epsilon,
        relu_before_se=traits.relu_before_se,
    )


def is_bottleneck(tensors: Tensors) -> bool:
    """Whether the residual units are bottlenecks, with three convolutions."""
    return any(key.endswith(".conv3.weight") for key in tensors)


def groups(tensors: Tensors) -> int:
    """The groups of the 3x3 convolutions in bottlenecks, by majority, so that a misshapen one is reported as such."""
    found: Counter[int] = Counter()
    for key in tensors:
        if re.fullmatch(r"layer\d+\.\d+\.conv2\.weight", key):
            inputs = width(tensors, key.replace("conv2.weight", "bn1.weight"))
            found[max(inputs // kernel(tensors, key)[1], 1)] += 1
    return found.most_common(1)[0][0] if found else 1


def _depth(tensors: Tensors) -> tuple[BlockKind, tuple[int, ...]]:
    kind: BlockKind = "bottleneck" if is_bottleneck(tensors) else "basic"
    stages = count(tensors, r"layer(\d+)\.") - 1
    counts = tuple(count(tensors, rf"layer{number}\.(\d+)\.") for number in range(1, max(stages, 3) + 1))
    if (kind, counts) not in DEPTHS:
        known = ", ".join(f"{depth} {units}" for (of, units), depth in DEPTHS.items() if of == kind)
        raise CheckpointError(
            f"{kind} units {counts} per stage make no known SE-ResNet ({known}): a file with fewer is incomplete, "
            "give the whole checkpoint."
        )
    return kind, counts


def _stem(tensors: Tensors, chosen: StemKind | None) -> tuple[StemKind, tuple[int, ...]]:
    if any(re.match(r"conv1\.\d", key) for key in tensors):
        channels = tuple(width(tensors, name) for name in ("conv1.1.weight", "conv1.4.weight", "bn1.weight"))
        matching: list[StemKind] = ["deep"]
    else:
        channels = (width(tensors, "bn1.weight"),)
        side = kernel(tensors, "conv1.weight")[-1]
        matching = [stem for stem in get_args(StemKind) if stem.startswith(f"{side}x{side}")]
        if not matching:
            raise CheckpointError(f"The first convolution is {side}x{side}: give a network with a stem of 7x7 or 3x3.")
    if chosen is None and len(matching) > 1:
        raise CheckpointError(
            f"The 3x3 stem does not show its stride: say --stem {' or --stem '.join(matching)} "
            "(a wrong one loads without an error and ruins the accuracy)."
        )
    if chosen not in (None, *matching):
        raise CheckpointError(f"The tensors make the stem {' or '.join(matching)}, not {chosen}: drop --stem.")
    return chosen or matching[0], channels


def _block(tensors: Tensors, name: str, kind: BlockKind, inputs: int, stride: int, se: bool, groups: int) -> BlockSpec:
    outputs = width(tensors, f"{name}.{'bn2' if kind == 'basic' else 'bn3'}.weight")
    se_bias = any(f"{name}.se.{fc}.bias" in tensors for fc in ("fc1", "fc2"))
    return BlockSpec(
        kind=kind,
        inputs=inputs,
        reduced=width(tensors, f"{name}.bn1.weight"),
        inside=width(tensors, f"{name}.bn2.weight"),
        outputs=outputs,
        stride=stride,
        shortcut=_shortcut(tensors, name, stride > 1 or inputs != outputs),
        squeezed=_squeezed(tensors, name, se_bias) if se else None,
        se_bias=se_bias,
        groups=groups,
    )


def _squeezed(tensors: Tensors, name: str, bias: bool) -> int:
    return width(tensors, f"{name}.se.fc1.bias") if bias else kernel(tensors, f"{name}.se.fc1.weight")[0]


def _shortcut(tensors: Tensors, name: str, needed: bool) -> Shortcut:
    if f"{name}.downsample.2.weight" in tensors:
        return "average"
    if needed or f"{name}.downsample.0.weight" in tensors:
        return "3x3" if kernel(tensors, f"{name}.downsample.0.weight")[-1] == 3 else "1x1"
    return "none"
