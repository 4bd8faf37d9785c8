"""NVIDIA's DeepLearningExamples and its NGC files: the SE block is called `squeeze`, and so is its first layer.

NGC's files of 20.06 name stages `layer1` to `layer4`, later code `layers.0` to `layers.3`.
"""

from models.design import Traits
from models.formats.format import Format, always
from models.formats.names import Names

NVIDIA = Format(
    name="nvidia",
    marks=(r"layers?\.?\d+\.\d+\.squeeze\.squeeze\.weight",),
    names=Names(
        ("layers.{stage-1}.{unit}.squeeze.squeeze", "layer{stage}.{unit}.se.fc1"),
        ("layers.{stage-1}.{unit}.squeeze.expand", "layer{stage}.{unit}.se.fc2"),
        ("layers.{stage-1}.{unit}.conv{n}", "layer{stage}.{unit}.conv{n}"),
        ("layers.{stage-1}.{unit}.bn{n}", "layer{stage}.{unit}.bn{n}"),
        ("layers.{stage-1}.{unit}.downsample.{n}", "layer{stage}.{unit}.downsample.{n}"),
        ("layer{stage}.{unit}.squeeze.squeeze", "layer{stage}.{unit}.se.fc1"),
        ("layer{stage}.{unit}.squeeze.expand", "layer{stage}.{unit}.se.fc2"),
    ),
    traits=always(Traits(variant="A")),
)
