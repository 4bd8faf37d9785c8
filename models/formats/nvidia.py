"""NVIDIA's DeepLearningExamples and NGC files: the SE block is named `squeeze`, and so is its first layer.

Stages are named `layer1` to `layer4` in NGC's files of version 20.06, `layers.0` to `layers.3` in later code.
"""

from models.formats.format import Format, always
from models.formats.names import Names
from models.networks.design import Traits

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
