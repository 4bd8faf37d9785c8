"""Fast decoding of ordinary JPEGs: the same photos, refusals and pixels as by Pillow alone, which does all the rest."""

import dataclasses
import io
import itertools
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bundle import fast_jpeg, images
from bundle.errors import ImageError
from bundle.headers import read_header
from bundle.images import Picture
from bundle.manifest import Preprocessing
from tests.conftest import REPOSITORY
from tests.support.pictures import encoded, jpeg, picture

simplejpeg: Any = pytest.importorskip("simplejpeg")
pytestmark = pytest.mark.skipif(not fast_jpeg.AVAILABLE, reason="simplejpeg or cykooz-resizer is not installed")

HOSTILE = Path(__file__).parents[1] / "data" / "hostile"
RARE = Path(__file__).parents[1] / "data" / "jpeg"
"""What Pillow does not write: by libjpeg-turbo's cjpeg (-arithmetic, -progressive), and by imagecodecs' `jpeg8_encode`
(`lossless=True, predictor=1`; `bitspersample=12, level=85`)."""

LIMIT = 4_000_000
MUTANTS = 1500
ROUNDED, CUT_OFF = 0.35, 12
"""Mean and largest difference where both ways round between the passes, and cut values off at 0 and 255, in another
order: one value in seven differs by 1. The mean of fewer than MANY values says nothing."""

MANY = 5000


def wanted(interpolation: Literal["bilinear", "bicubic"] = "bicubic", size: int = 48) -> Preprocessing:
    return Preprocessing(size, size, "short_side", size + 3, interpolation, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@contextmanager
def without_simd() -> Iterator[None]:
    """As on a machine for which there are no wheels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_jpeg, "AVAILABLE", False)
        yield


def verdict(data: bytes, preprocessing: Preprocessing) -> Picture | str:
    """The picture, or the refusal: its code and what it says."""
    try:
        return images.to_picture(data, preprocessing, LIMIT, exact=False)
    except ImageError as error:
        return f"{error.code}: {error}"


def by_pillow(data: bytes, preprocessing: Preprocessing) -> Picture | str:
    with without_simd():
        return verdict(data, preprocessing)


def differs(one: Picture | str, other: Picture | str) -> bool:
    """Whether two verdicts say something else, or show something else beyond rounding."""
    if isinstance(one, str) or isinstance(other, str):
        return not (isinstance(one, str) and one == other)
    difference = abs(one.astype(int) - other)
    return bool(difference.max() > CUT_OFF or (difference.size >= MANY and difference.mean() > ROUNDED))


def is_fast(data: bytes) -> bool:
    """Whether a file is decoded without Pillow."""
    header = read_header(data, LIMIT)
    return fast_jpeg.decode(header.needed_bytes(data), header, 1) is not None


def sampled(sampling: str, width: int = 96, height: int = 80) -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.asarray(picture(width, height)), 85, "RGB", sampling))


ORDINARY: dict[str, Callable[[], bytes]] = {
    "4:2:0": jpeg,
    "4:4:4": lambda: sampled("444"),
    "4:2:2": lambda: sampled("422"),
    "4:4:0": lambda: sampled("440"),
    "4:1:1": lambda: sampled("411"),
    "grey": lambda: encoded(picture().convert("L")),
    "RGB": lambda: encoded(picture(), keep_rgb=True),
    "progressive": lambda: encoded(picture(), progressive=True),
    "progressive 4:4:4": lambda: encoded(picture(301, 203), progressive=True, subsampling=0, quality=95),
    "grey and progressive": lambda: encoded(picture().convert("L"), progressive=True),
    "restart markers": lambda: encoded(picture(200, 150), restart_marker_blocks=3),
    "optimised tables": lambda: encoded(picture(33, 17), optimize=True),
    "one pixel": lambda: encoded(picture(1, 1)),
    "odd sides": lambda: encoded(picture(97, 65)),
    "wide": lambda: encoded(picture(1500, 3)),
    "tall": lambda: encoded(picture(3, 1500)),
    "decoded at a half": lambda: encoded(picture(333, 251)),
    "decoded at a quarter": lambda: encoded(picture(555, 499), progressive=True),
    "decoded at an eighth": lambda: encoded(picture(1001, 907)),
    "in strips": lambda: encoded(picture(4001, 101)),
    "two pictures": (HOSTILE / "two_pictures.mpo.jpg").read_bytes,
    "rubbish between segments": lambda: jpeg()[:20] + b"rubbish\xff\x01" + jpeg()[20:],
    "bytes behind it": (HOSTILE / "html_polyglot.jpg").read_bytes,
}


def of_transform(number: int, data: bytes) -> bytes:
    """The JPEG with another transform in its Adobe segment."""
    at = data.index(b"Adobe") + 11
    return data[:at] + bytes((number,)) + data[at + 1 :]


LEFT_TO_PILLOW: dict[str, Callable[[], bytes]] = {
    "CMYK": (HOSTILE / "cmyk.jpg").read_bytes,
    "YCCK": lambda: of_transform(2, (HOSTILE / "cmyk.jpg").read_bytes()),
    "arithmetic": (RARE / "arithmetic.jpg").read_bytes,
    "arithmetic and progressive": (RARE / "arithmetic_progressive.jpg").read_bytes,
    "a strange transform": lambda: of_transform(7, encoded(picture(), keep_rgb=True)),
    "PNG": lambda: encoded(picture(), "PNG"),
    "WebP": lambda: encoded(picture(), "WEBP"),
}


def test_a_difference_is_found() -> None:
    """The faults that the comparisons below must not overlook."""
    good = by_pillow(jpeg(), wanted())
    assert not isinstance(good, str)
    assert not differs(good, good)
    assert differs(good, np.roll(good, 1, axis=0))
    assert differs(good, good + np.uint8(1))
    assert differs(good, good[..., ::-1])
    assert differs(good, by_pillow(jpeg()[:400], wanted()))
    assert differs("bad_image: The JPEG …", "bad_image: The PNG …")


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_jpegs_are_decoded_without_pillow_to_its_pixels(
    name: str, interpolation: Literal["bilinear", "bicubic"]
) -> None:
    data = ORDINARY[name]()
    assert is_fast(data)
    for size in (48, 224):
        preprocessing = wanted(interpolation, size)
        assert not differs(verdict(data, preprocessing), by_pillow(data, preprocessing))


@pytest.mark.parametrize("name", ORDINARY)
def test_at_every_fraction_the_decoded_photo_is_the_one_that_pillow_decodes(name: str) -> None:
    data = ORDINARY[name]()
    header = read_header(data, LIMIT)
    needed = header.needed_bytes(data)
    for divisor in (1, 2, 4, 8):
        if min(header.width, header.height) < 2 * divisor > 2:
            continue  # no photo is divided so far: its sides would fall below the network's input
        decoded = fast_jpeg.decode(needed, header, divisor)
        with Image.open(io.BytesIO(needed)) as image:
            image.draft(None, (header.width // divisor, header.height // divisor))
            assert decoded is not None
            assert np.array_equal(decoded, np.asarray(image.convert("RGB")))


@settings(max_examples=60, deadline=None)
@given(st.tuples(st.integers(1, 4000), st.integers(1, 4000)), st.tuples(st.integers(1, 700), st.integers(1, 700)))
def test_the_fraction_is_that_of_pillows_draft_mode(stored: tuple[int, int], least: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(encoded(Image.new("L", stored), quality=1))) as image:
        image.draft(None, least)
        divisor = fast_jpeg.fraction(stored, least)
        assert image.size == (-(-stored[0] // divisor), -(-stored[1] // divisor))


@pytest.mark.parametrize("name", LEFT_TO_PILLOW)
def test_what_is_not_ordinary_is_left_to_pillow(name: str) -> None:
    data = LEFT_TO_PILLOW[name]()
    assert not is_fast(data)
    assert not isinstance(verdict(data, wanted()), str)
    assert np.array_equal(verdict(data, wanted()), by_pillow(data, wanted()))


def test_a_lossless_jpeg_never_reaches_the_fast_decoder() -> None:
    """It may write such a photo in full where a fraction was asked for, beyond the end of the memory."""
    data = (RARE / "lossless.jpg").read_bytes()
    header = read_header(data, LIMIT)
    assert not header.ordinary
    assert fast_jpeg.decode(data, header, 2) is None
    assert not differs(verdict(data, wanted()), by_pillow(data, wanted()))


def test_a_jpeg_of_twelve_bits_is_refused() -> None:
    assert verdict((RARE / "twelve_bit.jpg").read_bytes(), wanted()) == (
        "bad_image: The JPEG has a damaged header: send the whole, undamaged file."
    )


def test_a_photo_that_costs_much_is_left_to_pillow_at_once() -> None:
    data = encoded(picture(1200, 1000), progressive=True, quality=100, subsampling=0)
    header = read_header(data, LIMIT)
    assert fast_jpeg.decode(data, header, 1) is not None
    larger = dataclasses.replace(header, work=1e3)
    assert fast_jpeg.decode(data, larger, 1) is None


@pytest.mark.parametrize("path", sorted(HOSTILE.glob("*.*")), ids=lambda path: path.name)
def test_every_hostile_file_gets_the_same_verdict(path: Path) -> None:
    data = path.read_bytes()
    assert not differs(verdict(data, wanted()), by_pillow(data, wanted()))


def mutant(data: bytes, chance: random.Random) -> bytes:
    """The file with up to four changes, half of them near the header: bytes, cuts, insertions, markers, repetitions."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = int(chance.random() ** chance.choice((1, 3)) * (len(changed) - 1))
        few = chance.randint(1, 30)
        how = chance.choice(("set", "set", "set", "flip", "cut", "insert", "mark", "repeat", "end"))
        if how == "set":
            changed[at] = chance.randrange(256)
        elif how == "flip":
            changed[at] ^= 1 << chance.randrange(8)
        elif how == "cut":
            del changed[at : at + few]
        elif how == "insert":
            changed[at:at] = chance.randbytes(few)
        elif how == "mark":
            changed[at:at] = bytes((0xFF, chance.choice((0, 1, 0xC0, 0xC2, 0xC3, 0xC4, 0xC9, 0xD0, 0xD9, 0xDA, 0xE0))))
        elif how == "repeat":
            changed[at:at] = changed[at : at + few]
        elif len(changed) > 2 * few:
            del changed[-few:]
    return bytes(changed)


@pytest.mark.parametrize("name", ["4:2:0", "progressive", "restart markers", "grey", "4:1:1", "RGB"])
def test_neither_way_accepts_a_damaged_file_that_the_other_refuses(name: str) -> None:
    chance = random.Random(name)
    original = ORDINARY[name]()
    seen = {"fast": 0, "by pillow": 0, "refused": 0}
    for _ in range(MUTANTS):
        data = mutant(original, chance)
        mine, theirs = verdict(data, wanted()), by_pillow(data, wanted())
        assert not differs(mine, theirs), data.hex()
        seen["refused" if isinstance(mine, str) else "fast" if is_fast(data) else "by pillow"] += 1
    assert min(seen.values()) > MUTANTS / 50, seen


REFUSED_BY_PILLOW: dict[str, bytes] = {
    "a short JFIF segment": b"\xff\xe0\x00\x07JFIF\0",
    "a short Adobe segment": b"\xff\xee\x00\x07Adobe",
}


@pytest.mark.parametrize("name", REFUSED_BY_PILLOW)
def test_what_pillow_refuses_by_the_header_alone_is_refused(name: str) -> None:
    """libjpeg-turbo overlooks these."""
    data = jpeg()
    damaged = data[:2] + REFUSED_BY_PILLOW[name] + data[20:]
    assert simplejpeg.decode_jpeg(damaged, strict=True).shape == (80, 96, 3)
    assert verdict(damaged, wanted()) == ("bad_image: The JPEG has a damaged header: send the whole, undamaged file.")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(300, 200), (1300, 900)])
def test_a_turned_photo_is_brought_upright(orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(*size), exif=exif)
    turned = verdict(data, wanted())
    assert is_fast(data)
    assert not differs(turned, by_pillow(data, wanted()))
    if orientation > 1:
        assert differs(turned, verdict(encoded(picture(*size)), wanted()))


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.integers(8, 64),
    st.sampled_from(["short_side", "squash"]),
    st.integers(1, 8),
    st.sampled_from(["bilinear", "bicubic"]),
)
def test_photos_of_any_size_are_resized(
    width: int,
    height: int,
    size: int,
    resize: Literal["short_side", "squash"],
    orientation: int,
    interpolation: Literal["bilinear", "bicubic"],
) -> None:
    """Boxes reach to the very edge, where a float that rounds up would be refused."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(width, height), exif=exif)
    preprocessing = Preprocessing(size, size, resize, size, interpolation, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert not differs(verdict(data, preprocessing), by_pillow(data, preprocessing))


def test_threads_do_not_get_each_others_photos() -> None:
    files = [jpeg(seed, 300 + seed, 200) for seed in range(12)]
    alone = [verdict(data, wanted()) for data in files]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(verdict, files * 20, itertools.repeat(wanted())))
    assert all(np.array_equal(one, other) for one, other in zip(alone * 20, together, strict=True))
    assert differs(alone[0], alone[1])


@pytest.mark.parametrize("missing", ["simplejpeg", "cykooz_resizer"])
def test_where_a_package_is_missing_pillow_decodes_all(missing: str) -> None:
    command = f"""
import sys
sys.modules[{missing!r}] = None
from bundle import fast_jpeg, images
from bundle.manifest import Preprocessing
wanted = Preprocessing(48, 48, "short_side", 51, "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
print(fast_jpeg.AVAILABLE, images.to_picture(images.sample_jpeg(), wanted, 1 << 20, exact=False).shape)
"""
    ended = subprocess.run([sys.executable, "-c", command], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert ended.stdout == "False (48, 48, 3)\n", ended.stderr
