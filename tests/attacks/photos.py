"""Photos: ordinary ones, as an honest client sends them."""

import io
import itertools
from functools import cache

import numpy as np
from PIL import Image

from tests.attacks.server import ROOT

_REAL = ROOT.parent / "shared" / "data" / "photos"
_KINDS = 12
_numbers = itertools.count()


@cache
def photos() -> list[bytes]:
    """Real ones where they are on this machine, else made ones of the same size."""
    real = sorted(_REAL.glob("*.JPEG"))[:_KINDS] if _REAL.is_dir() else []
    return [path.read_bytes() for path in real] or [made(500, 375, seed) for seed in range(_KINDS)]


def made(width: int, height: int, seed: int, format: str = "JPEG") -> bytes:
    """Coarse coloured blobs, others for each seed."""
    cells = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC).save(file, format, quality=90)
    return file.getvalue()


def number() -> bytes:
    """Bytes to append to a photo: they change nothing but its hash, so that it does not share another's answer."""
    return next(_numbers).to_bytes(8)
