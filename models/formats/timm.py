"""timm's `seresnet*`: ResNets with `layerN.M.se.fc1/fc2` as 1x1 convolutions. Its names are the canonical form."""

import re

from models.checkpoint import Tensors
from models.formats.format import Format

_SE = re.compile(r"layer\d+\.\d+\.se\.fc1\.weight")


def _recognises(tensors: Tensors) -> bool:
    return any(_SE.fullmatch(key) and value.ndim == 4 for key, value in tensors.items())


TIMM = Format(
    name="timm",
    recognises=_recognises,
    canonical=dict,
    variant="A",
    size=224,
    resize_to=256,  # timm's default crop fraction, 0.875
    interpolation="bicubic",
)
