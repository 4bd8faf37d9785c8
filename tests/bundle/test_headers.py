"""Headers: what a file states about its photo, and which files are rejected before a decoder gets them."""

import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bundle.errors import Animated, BadImage, ImageError, TooManyPixels
from bundle.headers import exif, read_header
from bundle.images import sample_jpeg
from tests.support.pictures import encoded, jpeg, picture

HOSTILE = Path(__file__).parents[1] / "data" / "hostile"
LIMIT = 50_000_000
LARGE_BYTES = 20 << 20
PICTURE = picture(120, 80)
TIFF = b"MM\0*\0\0\0\x08"


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data), name) + data + struct.pack(">I", zlib.crc32(name + data))


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def canvas(width: int, height: int, flags: int = 0x08) -> tuple[bytes, bytes]:
    return b"VP8X", bytes((flags, 0, 0, 0)) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def many(piece: bytes) -> bytes:
    """The piece repeated until it has the size of the largest body."""
    return piece * (LARGE_BYTES // len(piece))


def in_jpeg(inserted: bytes) -> bytes:
    """A JPEG with something inserted after the start of the image, before its pixels."""
    return jpeg()[:2] + inserted + jpeg()[2:]


def in_png(inserted: bytes, at_end: bool = False) -> bytes:
    data = encoded(PICTURE, "PNG")
    at = len(data) - 12 if at_end else 33
    return data[:at] + inserted + data[at:]


def between_scans(inserted: bytes) -> bytes:
    data = encoded(PICTURE, progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + inserted + data[last:]


FRAME = encoded(PICTURE, "WEBP")[20:]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_kind_size_and_orientation_of_each_format_are_read(format: str) -> None:
    tag = Image.Exif()
    tag[0x0112] = 6
    header = read_header(encoded(PICTURE, format, exif=tag), LIMIT)
    assert (header.kind, header.width, header.height, header.orientation) == (format, 120, 80, 6)


def test_the_scans_of_a_jpeg_are_counted_and_what_follows_it_is_not() -> None:
    progressive = encoded(PICTURE, progressive=True)
    expected = progressive.count(b"\xff\xda")
    assert expected > 5
    for behind in (b"", b"\xff\xda" * 300, jpeg(), bytes(3 << 20) + b"\xff\xda"):
        assert read_header(progressive + behind, LIMIT).scans == expected
        assert read_header(jpeg() + behind, LIMIT).scans == 1


def test_scans_are_counted_across_the_slices_that_are_searched() -> None:
    for filler in range((1 << 20) - 700, (1 << 20) + 8, 59):
        padded = between_scans(segment(0xFE, b"\xff\xda" * 30_000) * 16 + b"\xff" * (filler % 60_000))
        assert read_header(padded, LIMIT).scans == read_header(between_scans(b""), LIMIT).scans


REFUSED: dict[str, Callable[[], bytes]] = {
    "empty EXIF segments": lambda: in_jpeg(many(segment(0xE1, b"Exif\0\0"))),
    "empty comments": lambda: in_jpeg(many(segment(0xFE, b""))),
    "long comments": lambda: in_jpeg(many(segment(0xFE, bytes(65_000)))),
    "escapes before the pixels": lambda: in_jpeg(segment(0xFE, b"") + many(b"\xff\x00")),
    "fill bytes before the pixels": lambda: in_jpeg(many(b"\xff")),
    "nothing before the pixels": lambda: in_jpeg(segment(0xFE, b"") + many(b"\x00")),
    "tables before the pixels": lambda: in_jpeg(segment(0xDB, bytes(65_000)) * 60),
    "comments between scans": lambda: between_scans(many(segment(0xFE, b""))),
    "bare markers between scans": lambda: between_scans(many(b"\xff\x01")),
    "empty PNG chunks": lambda: in_png(many(chunk(b"tIME", b""))),
    "empty PNG chunks behind the pixels": lambda: in_png(many(chunk(b"tIME", b"")), at_end=True),
    "empty pixel chunks": lambda: in_png(many(chunk(b"IDAT", b""))),
    "pixel chunks of a byte": lambda: in_png(many(chunk(b"IDAT", b"x")), at_end=True),
    "a long PNG chunk": lambda: in_png(chunk(b"tEXt", bytes(LARGE_BYTES))),
    "an orientation of millions of numbers": lambda: in_png(
        chunk(b"eXIf", TIFF + struct.pack(">HHHII", 1, 0x0112, 5, LARGE_BYTES // 8, 26) + bytes(LARGE_BYTES))
    ),
    "empty WebP chunks": lambda: riff(canvas(120, 80), *[(b"abcd", b"")] * (LARGE_BYTES // 8)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_structure_that_no_photo_has_is_refused_after_little_of_it(name: str) -> None:
    data = REFUSED[name]()
    assert len(data) > 3 << 20
    assert _lines_run(lambda: _refused(data)) < 30_000
    with pytest.raises(BadImage, match=r"save it again|damaged header"):
        read_header(data, LIMIT)


ACCEPTED: dict[str, Callable[[], bytes]] = {
    "escapes among the pixels": lambda: jpeg()[:-2] + many(b"\xff\x00") + jpeg()[-2:],
    "restarts among the pixels": lambda: between_scans(many(b"\xff\xd0")),
    "fill bytes behind the pixels": lambda: jpeg()[:-2] + many(b"\xff") + jpeg()[-2:],
    "a video behind the picture": lambda: jpeg() + many(b"\xff\xda\x00\x02"),
    "pixel chunks as libpng writes them": lambda: in_png(many(chunk(b"IDAT", bytes(8192))), at_end=True),
    "EXIF behind the pixels": lambda: riff(canvas(120, 80), (b"VP8 ", FRAME), (b"EXIF", bytes(LARGE_BYTES))),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_long_and_allowed_is_read_in_few_steps(name: str) -> None:
    data = ACCEPTED[name]()
    assert _lines_run(lambda: read_header(data, LIMIT) and None) < 120_000


def _refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        read_header(data, LIMIT)


def _lines_run(function: Callable[[], object]) -> int:
    """The number of lines of Python that the header readers run. It is the same on every machine."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace if "headers" in Path(frame.f_code.co_filename).parts else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def test_metadata_of_many_programs_is_no_reason_to_refuse() -> None:
    parts = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + bytes(60_000)) + segment(0xFE, b"x") * 50
    profile = b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes(60_000)) for _ in range(40))
    header = read_header(in_jpeg(parts + profile), LIMIT)
    assert len(header.needed_bytes(in_jpeg(parts + profile))) <= len(jpeg())


def test_of_a_plain_file_nothing_is_copied() -> None:
    for data in (jpeg(), encoded(PICTURE, "WEBP")):
        assert read_header(data, LIMIT).needed_bytes(data) is data


def test_the_decoder_still_gets_the_colour_space() -> None:
    cmyk = (HOSTILE / "cmyk.jpg").read_bytes()
    commented = cmyk[:2] + segment(0xFE, b"a comment") + cmyk[2:]
    assert b"Adobe" in cmyk
    assert read_header(commented, LIMIT).needed_bytes(commented) == cmyk


@pytest.mark.parametrize(("factors", "allowed"), [("4:2:0", 1.5 / 2), ("4:4:4", 3 / 2)])
def test_a_progressive_jpeg_is_limited_by_its_coefficients(factors: str, allowed: float) -> None:
    data = encoded(picture(400, 400), progressive=True, subsampling=factors)
    assert read_header(data, round(max(1.0, allowed) * 160_000)).pixels == 160_000
    with pytest.raises(TooManyPixels):
        read_header(data, round(max(1.0, allowed) * 160_000) - 1)
    assert read_header(encoded(picture(400, 400), subsampling=factors), 160_000).pixels == 160_000


def test_a_webp_is_limited_to_a_quarter_of_the_pixels() -> None:
    data = encoded(picture(400, 400), "WEBP")
    assert read_header(data, 640_000).pixels == 160_000
    with pytest.raises(TooManyPixels, match="The WebP has 400 x 400 pixels and 159999 are allowed"):
        read_header(data, 639_999)


def test_a_frame_larger_than_its_canvas_is_refused() -> None:
    with pytest.raises(BadImage):
        read_header(riff(canvas(119, 80), (b"VP8 ", FRAME)), LIMIT)


def test_a_jpeg_that_states_its_size_twice_or_later_is_refused() -> None:
    data = jpeg()
    frame = data.index(b"\xff\xc0")
    stop = frame + 2 + int.from_bytes(data[frame + 2 : frame + 4])
    later = data[: frame + 5] + b"\0\0" + data[frame + 7 :]
    for broken in (data[:stop] + data[frame:], later):
        with pytest.raises(BadImage, match="damaged header"):
            read_header(broken, LIMIT)


def test_an_animation_of_many_chunks_is_named_an_animation() -> None:
    data = in_png(chunk(b"acTL", struct.pack(">II", 3000, 0)) + chunk(b"fcTL", bytes(26)) * 3000)
    with pytest.raises(Animated):
        read_header(data, LIMIT)


entries = st.lists(
    st.tuples(
        st.integers(0x0100, 0x0111) | st.integers(0x0113, 0x9000), st.sampled_from([1, 3, 4, 9]), st.integers(0, 8)
    ),
    max_size=12,
    unique_by=lambda entry: entry[0],
)


@given(order=st.sampled_from("<>"), others=entries, type_=st.sampled_from([3, 4]), value=st.integers(0, 9))
def test_an_orientation_is_read_as_pillow_reads_it(
    order: str, others: list[tuple[int, int, int]], type_: int, value: int
) -> None:
    packed = {3: "H2x", 4: "I"}
    directory = sorted([*others, (0x0112, type_, value)])
    block = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(directory))
    for tag, kind, number in directory:
        block += struct.pack(order + "HHI" + packed.get(kind, "I"), tag, kind, 1, number)
    block += bytes(4)
    theirs = Image.Exif()
    theirs.load(b"Exif\0\0" + block)
    stated = theirs.get(0x0112)
    assert stated == value
    assert exif.orientation(b"Exif\0\0" + block) == exif.orientation(block) == (value if 1 <= value <= 8 else 1)
    tagged = jpeg()[:2] + segment(0xE1, b"Exif\0\0" + block) + jpeg()[2:]
    assert read_header(tagged, LIMIT).orientation == exif.orientation(block)


@given(st.binary(max_size=200))
def test_no_exif_block_raises_or_gives_another_number(block: bytes) -> None:
    for order in (b"", b"II*\0", b"MM\0*"):
        assert 1 <= exif.orientation(order + block) <= 8


@pytest.mark.parametrize(
    "name", ["plain.png", "two_pictures.mpo.jpg", *(f"orientation_{tag}.png" for tag in range(1, 9))]
)
def test_orientations_of_the_hostile_files_are_those_that_pillow_reads(name: str) -> None:
    data = (HOSTILE / name).read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        assert read_header(data, LIMIT).orientation == image.getexif().get(0x0112, 1)


def test_headers_of_real_photos_agree_with_pillows(photos: list[Path]) -> None:
    for path in photos:
        header = read_header(path.read_bytes(), LIMIT)
        with Image.open(path) as image:
            assert (header.width, header.height) == image.size
            assert header.orientation == (image.getexif().get(0x0112) or 1)  # some cameras write 0


def test_work_grows_with_pixels_bytes_and_scans() -> None:
    def work(width: int, height: int, format: str = "JPEG", **options: Any) -> float:
        return read_header(encoded(picture(width, height), format, **options), LIMIT).work

    for format in ("JPEG", "PNG", "WEBP"):
        assert work(1000, 800, format) > 1.3 * work(250, 200, format)
    assert work(500, 375, progressive=True) > 1.2 * work(500, 375)
    assert work(1000, 800, "PNG") > 3 * work(1000, 800)
    assert 0.7 < read_header(sample_jpeg(), LIMIT).work < 1.4
