"""MMPretrain and MMClassification: names begin with `backbone.` or `head.`; an SE layer is two wrapped convolutions.

Their `style='caffe'` strides in the first 1x1 (`--variant C`). No weights of that style are published.
"""

from models.formats.format import Format, always
from models.formats.names import Names
from models.networks.design import Traits

MMPRETRAIN = Format(
    name="mmpretrain",
    marks=(r"backbone\.layer\d+\.\d+\.se_layer\.conv1\.conv\.weight",),
    names=Names(
        ("backbone.layer{stage}.{unit}.se_layer.conv{n}.conv", "layer{stage}.{unit}.se.fc{n}"),
        ("backbone.layer{stage}.{unit}.conv{n}", "layer{stage}.{unit}.conv{n}"),
        ("backbone.layer{stage}.{unit}.bn{n}", "layer{stage}.{unit}.bn{n}"),
        ("backbone.layer{stage}.{unit}.downsample.{n}", "layer{stage}.{unit}.downsample.{n}"),
        ("backbone.stem.7", "bn1"),
        ("backbone.stem.{n}", "conv1.{n}"),
        ("backbone.conv1", "conv1"),
        ("backbone.bn1", "bn1"),
        ("head.fc", "fc"),
    ),
    traits=always(Traits(variant="A")),
)
