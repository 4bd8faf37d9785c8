"""PaddleClas: names as `bb_0_0.conv0._conv`, linear layers as (in, out). `_vd` networks have averaging shortcuts."""

from models.formats.format import Format, always
from models.formats.names import Names
from models.networks.design import Traits

_UNIT, _OURS = "bb_{stage-1}_{unit}", "layer{stage}.{unit}"
_UNITS = (
    (f"{_UNIT}.conv{{n-1}}._conv", f"{_OURS}.conv{{n}}"),
    (f"{_UNIT}.conv{{n-1}}._batch_norm", f"{_OURS}.bn{{n}}"),
    (f"{_UNIT}.scale.squeeze", f"{_OURS}.se.fc1"),
    (f"{_UNIT}.scale.excitation", f"{_OURS}.se.fc2"),
    ("out", "fc"),
)
_LEAVES = {"_mean": "running_mean", "_variance": "running_var"}
_SE = r"bb_\d+_\d+\.scale\.squeeze\.weight"
_TRANSPOSED = r".*\.se\.fc\d\.weight|fc\.weight"

PADDLE = Format(
    name="paddle",
    marks=(_SE, r"conv\._conv\.weight"),
    names=Names(
        ("conv._conv", "conv1"),
        ("conv._batch_norm", "bn1"),
        (f"{_UNIT}.short._conv", f"{_OURS}.downsample.0"),
        (f"{_UNIT}.short._batch_norm", f"{_OURS}.downsample.1"),
        *_UNITS,
        leaves=_LEAVES,
    ),
    traits=always(Traits(variant="A")),
    transposed=_TRANSPOSED,
)

PADDLE_VD = Format(
    name="paddle-vd",
    marks=(_SE, r"conv1_1\._conv\.weight"),
    names=Names(
        ("conv1_1._conv", "conv1.0"),
        ("conv1_1._batch_norm", "conv1.1"),
        ("conv1_2._conv", "conv1.3"),
        ("conv1_2._batch_norm", "conv1.4"),
        ("conv1_3._conv", "conv1.6"),
        ("conv1_3._batch_norm", "bn1"),
        (f"{_UNIT}.short._conv", f"{_OURS}.downsample.1"),
        (f"{_UNIT}.short._batch_norm", f"{_OURS}.downsample.2"),
        *_UNITS,
        leaves=_LEAVES,
    ),
    traits=always(Traits(variant="A")),
    transposed=_TRANSPOSED,
)
