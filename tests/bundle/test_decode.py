"""Decoding: bounded memory and time, no warnings, only typed errors, and the same pixels in strips as of the whole."""

import contextlib
import io
import logging
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bundle import strips
from bundle.errors import ImageError
from bundle.headers import read_header
from bundle.images import decode, to_picture
from bundle.manifest import Preprocessing
from tests.bundle.test_headers import ACCEPTED, REFUSED, chunk, in_png, segment
from tests.support import fast
from tests.support.pictures import encoded, jpeg, picture

LIMIT = 50_000_000
SIDE = 3000  # of the pictures whose memory is measured
PREPROCESSING = Preprocessing(48, 48, "short_side", 51, "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

LARGER = Preprocessing(224, 224, "short_side", 256, "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def kinds(width: int, height: int) -> dict[str, bytes]:
    """A picture in every mode that must be converted before it is resized."""
    colours = picture(width, height)
    grey = colours.convert("L")
    clear = picture(width, height, seed=1).convert("L")
    with_alpha = colours.copy()
    with_alpha.putalpha(clear)
    palette = colours.quantize(64)
    aside = Image.Exif()
    aside[0x0112] = 6
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 251)
    return {
        "sixteen bits": encoded(sixteen, "PNG"),
        "one bit": encoded(grey.convert("1"), "PNG"),
        "alpha": encoded(with_alpha, "PNG"),
        "grey with alpha": encoded(Image.merge("LA", (grey, clear)), "PNG"),
        "palette": encoded(palette, "PNG"),
        "palette with alpha": encoded(palette, "PNG", transparency=bytes(range(0, 256, 4))),
        "one clear colour": encoded(grey, "PNG", transparency=120),
        "four inks": encoded(colours.convert("CMYK")),
        "turned": encoded(colours, "PNG", exif=aside),
        "not packed": in_one_chunk(with_alpha),
        "turned grey": encoded(grey, exif=aside),
        "ordinary JPEG": encoded(colours),
        "progressive grey": encoded(grey, progressive=True),
    }


def in_one_chunk(image: Image.Image) -> bytes:
    """An uncompressed PNG with all its samples in one chunk."""
    rows = np.asarray(image).reshape(image.height, -1)
    samples = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes(), 0)
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", samples) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(200, 150), (150, 200), (64, 900), (900, 64)])
def test_the_exact_pixels_of_a_picture_in_strips_are_those_of_the_whole(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, data in kinds(*size).items():
        whole = to_picture(data, PREPROCESSING, LIMIT)
        with monkeypatch.context() as patch:
            patch.setattr(strips, "STRIP_PIXELS", 5000)
            assert np.array_equal(to_picture(data, PREPROCESSING, LIMIT), whole), name


def test_the_fast_pixels_of_a_picture_in_strips_are_near_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in kinds(300, 240).items():
        whole = to_picture(data, PREPROCESSING, LIMIT, exact=False).astype(int)
        with monkeypatch.context() as patch:
            patch.setattr(strips, "STRIP_PIXELS", 5000)
            cut = to_picture(data, PREPROCESSING, LIMIT, exact=False).astype(int)
        assert abs(cut - whole).max() <= 1, name


def test_every_sixteen_bit_value_is_divided_and_rounded() -> None:
    values = np.arange(1 << 16, dtype=np.uint16)
    assert np.array_equal(strips.to_8_bits(values), np.rint(values / 257))


CHILD = """
import re, sys
from pathlib import Path
from bundle.headers import read_header
from bundle.images import decode, sample_jpeg
from tests.bundle.test_decode import LARGER, PREPROCESSING

def kib(field):
    return int(re.search(field + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

exact = sys.argv[2] == "exact"
for data in (sample_jpeg(), Path(sys.argv[1]).read_bytes()):
    header = read_header(data, 1 << 30)
    before = kib("VmRSS")
    decode(data, header, LARGER if sys.argv[3] == "larger" else PREPROCESSING, exact)
print((kib("VmHWM") - before) * 1024, header.pixels, len(data))
"""


def peak_bytes(data: bytes, way: str, folder: Path, network: str = "small") -> int:
    """The peak of memory during one decode, above the memory of the process before it, which includes the file."""
    (folder / "picture").write_bytes(data)
    command = [sys.executable, "-c", CHILD, str(folder / "picture"), way, network]
    root = Path(__file__).parents[2]
    return int(subprocess.run(command, cwd=root, capture_output=True, check=True, text=True).stdout.split()[0])


@pytest.fixture(scope="module")
def large() -> dict[str, bytes]:
    fast.leave("draws large photos")
    return kinds(SIDE, SIDE)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel does not report the peak of memory")
@pytest.mark.parametrize(("way", "bytes_a_pixel"), [("fast", 4), ("exact", 5)])
def test_a_decode_holds_four_bytes_a_pixel_and_five_if_exact(
    way: str, bytes_a_pixel: int, large: dict[str, bytes], tmp_path: Path
) -> None:
    spare = 12 << 20  # strips, and what the first use of a decoder allocates
    for name, data in large.items():
        assert peak_bytes(data, way, tmp_path) < bytes_a_pixel * SIDE * SIDE + len(data) + spare, name


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel does not report the peak of memory")
def test_a_jpeg_that_is_decoded_in_full_holds_four_bytes_a_pixel_too(tmp_path: Path) -> None:
    """Long photos are the largest of which no fraction is decoded: their short side must stay."""
    data = encoded(picture(15_000, 1000))
    assert peak_bytes(data, "fast", tmp_path, "larger") < 4 * 15_000 * 1000 + len(data) + (12 << 20)


@pytest.mark.parametrize("name", [*REFUSED, *ACCEPTED])
def test_no_long_file_occupies_a_decoder(name: str) -> None:
    data = {**REFUSED, **ACCEPTED}[name]()
    began_s = time.process_time()
    with contextlib.suppress(ImageError):
        to_picture(data, PREPROCESSING, LIMIT, exact=False)
    assert time.process_time() - began_s < 4  # none takes above 0.16; before, most took 5 to 10


@pytest.mark.filterwarnings("error")
def test_nothing_in_a_photo_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for data in (
        in_png(chunk(b"acTL", bytes(8)) * 900),
        in_png(chunk(b"eXIf", b"MM\0*" + b"\xff" * 40)),
        jpeg()[:2] + segment(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff") * 900 + jpeg()[2:],
        jpeg()[:2] + segment(0xE2, b"MPF\0" + bytes(40)) + jpeg()[2:],
    ):
        assert to_picture(data, PREPROCESSING, LIMIT).shape == (48, 48, 3)
    assert not caplog.records


def test_a_header_read_before_is_enough_to_decode() -> None:
    data = jpeg()
    assert np.array_equal(decode(data, read_header(data, LIMIT), PREPROCESSING), to_picture(data, PREPROCESSING, LIMIT))


ORIGINALS = [
    jpeg(),
    encoded(
        picture(), progressive=True, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", 0x112, 3, 1, 6, 0)
    ),
    encoded(picture(), "PNG"),
    encoded(picture().quantize(16), "PNG", transparency=bytes(range(0, 256, 16))),
    encoded(picture(), "WEBP"),
    encoded(picture().convert("RGBA"), "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0", lossless=True),
]
changes = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["set", "cut", "insert", "repeat"]), st.binary(min_size=1, max_size=8)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=300, deadline=None)
@given(original=st.sampled_from(ORIGINALS), changes=changes, exact=st.booleans())
def test_any_change_to_a_file_gives_a_picture_or_a_typed_error(
    original: bytes, changes: list[tuple[float, str, bytes]], exact: bool
) -> None:
    data = original
    for place, how, piece in changes:
        at = int(place**3 * len(data))  # most of them near the header
        behind = {"set": data[at + len(piece) :], "cut": data[at + 8 * len(piece) :], "insert": data[at:]}
        data = (
            data[:at]
            + (data[at : at + 40] * 2 if how == "repeat" else b"" if how == "cut" else piece)
            + (behind.get(how, data[at + 40 :]))
        )
    try:
        assert to_picture(data, PREPROCESSING, 4_000_000, exact).shape == (48, 48, 3)
    except ImageError as error:
        assert str(error).endswith(".")


def test_a_thumbnail_inside_exif_is_not_taken_for_the_photo() -> None:
    thumbnail = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + jpeg(seed=5, width=16, height=16)
    photo = jpeg()
    tagged = photo[:2] + segment(0xE1, thumbnail) + photo[2:]
    assert np.array_equal(to_picture(tagged, PREPROCESSING, LIMIT), to_picture(photo, PREPROCESSING, LIMIT))
    assert Image.open(io.BytesIO(read_header(tagged, LIMIT).needed_bytes(tagged))).size == (96, 80)
