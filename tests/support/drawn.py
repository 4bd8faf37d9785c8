"""Drawn: pictures of things that the demo knows. They belong to nobody else, so docs/page.md may show them."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

_SCALE = 3  # drawn larger, so that edges are smooth
Colour = tuple[int, int, int]


def goldfish(width: int = 480, height: int = 360) -> Image.Image:
    """An orange fish in green water."""
    picture, draw = _ground(width, height, (30, 92, 96), (8, 36, 48))

    def at(*points: float) -> list[float]:
        return [share * (width, height)[axis % 2] * _SCALE for axis, share in enumerate(points)]

    draw.polygon(at(0.66, 0.52, 0.93, 0.26, 0.87, 0.52, 0.94, 0.80), fill=(242, 122, 30))  # tail
    draw.polygon(at(0.40, 0.34, 0.56, 0.12, 0.66, 0.38), fill=(236, 110, 24))  # fin
    draw.polygon(at(0.42, 0.68, 0.50, 0.88, 0.58, 0.66), fill=(236, 110, 24))
    for step in range(30):  # from the back to the belly
        shade = step / 29
        colour = (245, int(112 + 90 * shade), int(20 + 70 * shade))
        draw.ellipse(
            at(0.18 + 0.008 * step, 0.30 + 0.006 * step, 0.72 - 0.006 * step, 0.73 - 0.002 * step), fill=colour
        )
    draw.arc(at(0.22, 0.36, 0.40, 0.70), 290, 70, fill=(196, 84, 12), width=3 * _SCALE)  # gill
    draw.ellipse(at(0.245, 0.43, 0.295, 0.50), fill=(250, 240, 215))
    draw.ellipse(at(0.258, 0.448, 0.284, 0.485), fill=(15, 15, 18))
    return _finished(picture, width, height)


def lemon(width: int = 480, height: int = 360) -> Image.Image:
    """A yellow fruit on a table."""
    picture, draw = _ground(width, height, (210, 198, 182), (142, 112, 84))

    def at(*points: float) -> list[float]:
        return [share * (width, height)[axis % 2] * _SCALE for axis, share in enumerate(points)]

    draw.ellipse(at(0.22, 0.68, 0.84, 0.84), fill=(104, 80, 58))  # shadow
    draw.ellipse(at(0.16, 0.44, 0.34, 0.62), fill=(226, 184, 26))  # tip
    for step in range(40):
        shade = step / 39
        colour = (int(214 + 41 * shade), int(168 + 62 * shade), int(18 + 62 * shade))
        draw.ellipse(
            at(0.20 + 0.006 * step, 0.24 + 0.004 * step, 0.82 - 0.009 * step, 0.82 - 0.009 * step), fill=colour
        )
    draw.ellipse(at(0.78, 0.49, 0.86, 0.59), fill=(206, 160, 20))
    return _finished(picture, width, height)


def _ground(width: int, height: int, top: Colour, bottom: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    rows = np.linspace(0, 1, height * _SCALE)[:, None, None]
    blend = np.array(top) * (1 - rows) + np.array(bottom) * rows  # (rows, 1, 3)
    picture = Image.fromarray(np.repeat(blend, width * _SCALE, axis=1).astype(np.uint8))
    return picture, ImageDraw.Draw(picture)


def _finished(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Softened, with the noise of a camera."""
    small = picture.resize((width, height), Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(0.8))
    noise = np.random.default_rng(0).normal(0, 5, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(small) + noise, 0, 255).astype(np.uint8))
