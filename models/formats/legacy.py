"""Cadene's pretrained-models.pytorch, which timm has as `legacy_*`: ported from the original Caffe networks.

They stride and pool as the originals do: SE-ResNets stride in the first 1x1 convolution, SE-ResNeXts and SENet-154 in
the 3x3. The networks with 18 and 34 layers, added by timm, have one more ReLU than others, before the SE block.
"""

from models.checkpoint import Checkpoint
from models.formats.format import Format, always
from models.formats.names import Names
from models.networks.design import Traits
from models.seresnet_reader import groups, is_bottleneck
from models.tensors import Tensors

_UNITS = (
    ("layer{stage}.{unit}.se_module.fc{n}", "layer{stage}.{unit}.se.fc{n}"),
    ("last_linear", "fc"),
)
_MARK = r"layer\d+\.\d+\.se_module\.fc1\.weight"


def _traits(tensors: Tensors, source: Checkpoint) -> Traits:
    if not is_bottleneck(tensors):
        return Traits(variant="B", relu_before_se=True)
    return Traits(variant="D" if groups(tensors) > 1 else "B")


LEGACY = Format(
    name="legacy",
    marks=(_MARK, r"layer0\.conv1\.weight"),
    names=Names(("layer0.conv1", "conv1"), ("layer0.bn1", "bn1"), *_UNITS),
    traits=_traits,
)

LEGACY_SENET = Format(
    name="legacy-senet",
    marks=(_MARK, r"layer0\.conv3\.weight"),
    names=Names(
        ("layer0.conv1", "conv1.0"),
        ("layer0.bn1", "conv1.1"),
        ("layer0.conv2", "conv1.3"),
        ("layer0.bn2", "conv1.4"),
        ("layer0.conv3", "conv1.6"),
        ("layer0.bn3", "bn1"),
        *_UNITS,
    ),
    traits=always(Traits(variant="D")),
)
