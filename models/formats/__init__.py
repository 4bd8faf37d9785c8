"""The checkpoint formats, one file each."""

from models.checkpoint import Tensors
from models.errors import CheckpointError
from models.formats.format import Format
from models.formats.timm import TIMM

FORMATS = (TIMM,)


def named(name: str) -> Format:
    """The format of that name; CheckpointError where there is none."""
    for known in FORMATS:
        if known.name == name:
            return known
    raise CheckpointError(f"There is no format '{name}': choose one of {', '.join(f.name for f in FORMATS)}.")


def detect(tensors: Tensors) -> Format:
    """The first format that recognises the tensors; CheckpointError where none does."""
    for known in FORMATS:
        if known.recognises(tensors):
            return known
    raise CheckpointError(
        f"No known format has tensors named like {', '.join(map(repr, sorted(tensors)[:3]))}, …: "
        f"the formats are {', '.join(f.name for f in FORMATS)}, and all of them have SE blocks."
    )
