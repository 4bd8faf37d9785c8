"""From the bytes of a photo to Pixels: what is accepted, and exactly how it becomes the network's input."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bundle.errors import Animated, BadImage, TooManyPixels, UnsupportedType
from bundle.manifest import Preprocessing

Pixels = NDArray[np.uint8]  # (n, height, width, 3), RGB
Picture = NDArray[np.uint8]  # (height, width, 3), RGB: one image of Pixels

MAX_SCANS = 100
"""Of a JPEG. Progressive encoders write about ten; each costs a pass over all pixels, whatever the file's size."""

_BLOCK_PIXELS = 64
"""A JPEG codes blocks of 8 x 8 and spends at least one bit on each: a header that promises more than its file can hold
lies, and would have the decoder fill the rest with grey."""

MAX_ASPECT = 16
"""Longer photos are cut before they are resized: 30 000 x 1 would otherwise become 1 920 000 x 64 on the way."""

_KINDS = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "GIF": b"GIF8", "BMP": b"BM", "PDF": b"%PDF"}
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC"}
_ACCEPTED = ("JPEG", "PNG", "WEBP")
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_ORIENTATION = 0x0112  # the EXIF tag
_ASIDE = (5, 6, 7, 8)  # orientations that exchange width and height
_SPARE = 2  # times the resized size is what a JPEG is decoded to at least, where not exact
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_picture(encoded: bytes, preprocessing: Preprocessing, max_pixels: int, exact: bool = True) -> Picture:
    """Decode a photo and bring it to the network's input: upright by its EXIF, RGB, first of a phone's two pictures.

    `exact`: equal to torchvision's PIL transform pixel for pixel. Otherwise a JPEG is decoded at a fraction of its
    size, twice what is needed or more, and only what the crop keeps is resized.

    Raises an ImageError that says the cure.
    """
    image = _opened(encoded, max_pixels)
    try:
        turned = _orientation(image) in _ASIDE
        whole = image.size[::-1] if turned else image.size
        if not exact:
            _draft(image, whole, preprocessing, turned)
        return np.asarray(_fitted(_rgb(_upright(image)), whole, preprocessing, exact))
    except (
        Exception
    ) as error:  # Pillow's decoders raise whatever their parsers meet: OSError, SyntaxError, ValueError …
        raise BadImage(f"The {image.format} is truncated or corrupt: send the whole file.") from error


def kind(encoded: bytes) -> str | None:
    """The format by its first bytes, accepted or not; None where they are unknown."""
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "WEBP"
    if encoded[4:8] == b"ftyp":
        return _BRANDS.get(encoded[8:12])
    found = next((name for name, magic in _KINDS.items() if encoded.startswith(magic)), None)
    return "SVG" if found is None and b"<svg" in encoded[:1024] else found


def _opened(encoded: bytes, max_pixels: int) -> Image.Image:
    """The image with its header read and its pixels not yet: what the limits refuse is refused here."""
    found = kind(encoded)
    if found not in _ACCEPTED:
        raise UnsupportedType(f"{found or 'This'} is not an accepted image type: send JPEG, PNG or WebP.")
    if found == "JPEG" and _too_many_scans(encoded):
        raise BadImage(f"The JPEG has more than {MAX_SCANS} scans: save it again as an ordinary JPEG.")
    try:
        image = Image.open(io.BytesIO(encoded), formats=(found,))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixels(f"The image has more than the {max_pixels} pixels allowed: send a smaller one.") from error
    except Exception as error:  # as in to_picture
        raise BadImage(f"The {found} has a damaged header: send the whole file.") from error
    if image.width * image.height > max_pixels:
        raise TooManyPixels(
            f"The image has {image.width} x {image.height} pixels and {max_pixels} are allowed: send a smaller one."
        )
    if found == "JPEG" and 8 * len(encoded) * _BLOCK_PIXELS < image.width * image.height:
        raise BadImage("The JPEG is shorter than its header says it must be: send the whole file.")
    if found != "JPEG" and getattr(image, "n_frames", 1) > 1:
        raise Animated(f"The {found} is animated: send one frame.")
    return image


def _too_many_scans(encoded: bytes) -> bool:
    """Whether the first picture of a JPEG has too many start-of-scan markers.

    The plain count is an upper bound that nearly every file passes; what follows or is embedded in a picture (videos
    of phones, thumbnails) may hold the two bytes by chance, so only then are the segments walked.
    """
    return encoded.count(b"\xff\xda") > MAX_SCANS and _scans(encoded) > MAX_SCANS


def _scans(encoded: bytes) -> int:
    scans, at = 0, 2
    while 0 <= (at := encoded.find(b"\xff", at)) < len(encoded) - 3 and scans <= MAX_SCANS:
        marker = encoded[at + 1]
        if marker == 0xD9:  # end of the picture
            break
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:  # escape, TEM, fill, restart: no length follows
            at += 1 if marker == 0xFF else 2
            continue
        scans += marker == 0xDA
        at += 2 + int.from_bytes(encoded[at + 2 : at + 4])
    return scans


def _orientation(image: Image.Image) -> int | None:
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # a damaged EXIF block says nothing; the photo itself may be sound
        return None
    return orientation if isinstance(orientation, int) else None


def _upright(image: Image.Image) -> Image.Image:
    turn = _UPRIGHT.get(_orientation(image) or 1)
    return image if turn is None else image.transpose(turn)


def _draft(image: Image.Image, whole: tuple[int, int], preprocessing: Preprocessing, turned: bool) -> None:
    """Have a JPEG decoded at a half, quarter or eighth of its size, by leaving out frequencies that would be lost."""
    (width, height), _ = _geometry(*whole, preprocessing)
    wanted = (_SPARE * width, _SPARE * height)
    image.draft(None, wanted[::-1] if turned else wanted)  # of the file's own orientation; others than JPEG do nothing


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):  # Pillow's own conversion of 16 bits cuts off at 255
        grey = np.asarray(image).astype(np.float32) / 257
        return Image.fromarray(np.rint(grey).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        seen = image.convert("RGBA")
        white = Image.new("RGB", seen.size, "white")
        white.paste(seen, mask=seen.getchannel("A"))
        return white
    return image.convert("RGB")


def _fitted(image: Image.Image, whole: tuple[int, int], preprocessing: Preprocessing, exact: bool) -> Image.Image:
    """Resized and cropped. `whole` is the photo's own size, of which `image` may be a fraction."""
    size, box = _geometry(*whole, preprocessing)
    left, top, right, bottom = box
    resampling: Any = _RESAMPLING[preprocessing.interpolation]
    if exact and max(whole) <= MAX_ASPECT * min(whole):
        return image.resize(size, resampling).crop(box)
    across, down = image.width / size[0], image.height / size[1]
    source = (left * across, top * down, right * across, bottom * down)
    return image.resize((right - left, bottom - top), resampling, box=source)


def _geometry(width: int, height: int, wanted: Preprocessing) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """The resized size and the crop in it, rounded as torchvision's `Resize` and `CenterCrop` round them."""
    if wanted.resize == "squash":
        size = (wanted.resize_to, wanted.resize_to)
    elif width <= height:
        size = (wanted.resize_to, int(wanted.resize_to * height / width))
    else:
        size = (int(wanted.resize_to * width / height), wanted.resize_to)
    left = round((size[0] - wanted.width) / 2)
    top = round((size[1] - wanted.height) / 2)
    return size, (left, top, left + wanted.width, top + wanted.height)


def sample_jpeg() -> bytes:
    """An ordinary photo as far as decoding it is concerned: 500 x 375 pixels, some detail, 4:2:0, quality 90."""
    blocks = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(blocks).resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()
