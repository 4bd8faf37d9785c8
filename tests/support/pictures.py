"""Pictures: small photos that the tests draw themselves."""

import io
from typing import Any

import numpy as np
from PIL import Image


def picture(width: int = 96, height: int = 80, seed: int = 0) -> Image.Image:
    """Coarse coloured areas, different for each seed."""
    cells = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def jpeg(seed: int = 0, width: int = 96, height: int = 80) -> bytes:
    return encoded(picture(width, height, seed), quality=90)
