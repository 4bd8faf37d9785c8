"""pytorchcv (osmr/imgclsmob): names as `features.stageN.unitM`. Only a model's name shows where it strides.

`seresnet50b` strides in the 3x3 convolution, `seresnet50` in the first 1x1, and their tensors have the same names.
"""

import re

from models.checkpoint import Checkpoint
from models.evaluation import EvaluationTransform
from models.formats.format import Format, always
from models.formats.names import Names
from models.networks.design import Traits
from models.seresnet_reader import groups, is_bottleneck
from models.tensors import Tensors

_UNIT, _OURS = "features.stage{stage}.unit{unit+1}", "layer{stage}.{unit}"
_UNITS = (
    (f"{_UNIT}.body.conv{{n}}.conv", f"{_OURS}.conv{{n}}"),
    (f"{_UNIT}.body.conv{{n}}.bn", f"{_OURS}.bn{{n}}"),
    (f"{_UNIT}.se.conv{{n}}", f"{_OURS}.se.fc{{n}}"),
    (f"{_UNIT}.identity_conv.conv", f"{_OURS}.downsample.0"),
    (f"{_UNIT}.identity_conv.bn", f"{_OURS}.downsample.1"),
)
_SE = r"features\.stage\d+\.unit\d+\.se\.conv1\.weight"


def _traits(tensors: Tensors, source: Checkpoint) -> Traits:
    """The variant by the name of the file. Networks with basic units or with groups have only one variant."""
    if not is_bottleneck(tensors) or groups(tensors) > 1:
        return Traits(variant="A")
    named = re.match(r"seresnet\d+(b?)(?=\W|_|$)", source.file.lower())
    return Traits(variant=("A" if named[1] else "C") if named else None)


PYTORCHCV = Format(
    name="pytorchcv",
    marks=(_SE, r"features\.init_block\.conv\.conv\.weight"),
    names=Names(
        ("features.init_block.conv.conv", "conv1"), ("features.init_block.conv.bn", "bn1"), ("output", "fc"), *_UNITS
    ),
    traits=_traits,
)

PYTORCHCV_SENET = Format(
    name="pytorchcv-senet",
    marks=(_SE, r"features\.init_block\.conv3\.conv\.weight"),
    names=Names(
        ("features.init_block.conv1.conv", "conv1.0"),
        ("features.init_block.conv1.bn", "conv1.1"),
        ("features.init_block.conv2.conv", "conv1.3"),
        ("features.init_block.conv2.bn", "conv1.4"),
        ("features.init_block.conv3.conv", "conv1.6"),
        ("features.init_block.conv3.bn", "bn1"),
        ("output.fc", "fc"),
        *_UNITS,
    ),
    traits=always(Traits(variant="A")),
)

PYTORCHCV_CIFAR = Format(
    name="pytorchcv-cifar",
    marks=(_SE, r"features\.init_block\.conv\.weight"),
    names=Names(("features.init_block.conv", "conv1"), ("features.init_block.bn", "bn1"), ("output", "fc"), *_UNITS),
    traits=always(Traits(variant="A", stem="3x3s1")),
    transform=EvaluationTransform(
        size=32,
        resize_to=32,
        mean=(0.4914 * 255, 0.4822 * 255, 0.4465 * 255),
        std=(0.2023 * 255, 0.1994 * 255, 0.2010 * 255),  # as in its data loaders
    ),
)
