"""MMPretrain and MMClassification: a `backbone.` and a `head.`, the SE layer as two wrapped convolutions.

Its `style='caffe'`, of which no published weights exist, strides in the first 1x1: say `--variant C` then.
"""

from models.design import Traits
from models.formats.format import Format, always
from models.formats.names import Names

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
