"""Makes the files beside it, one an attack or an oddity: `python tests/data/hostile/make.py`."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent


def ground(width: int = 96, height: int = 80) -> Image.Image:
    """A picture with a different colour in each corner, so that its orientation shows."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=2).astype(np.uint8))


def encoded(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes, depth: int = 1, colour: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [png_chunk(b"IHDR", header), png_chunk(b"IDAT", zlib.compress(rows, 9)), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def many_scans(count: int) -> bytes:
    """A progressive JPEG with its last scan repeated: each costs a decoder a pass over the picture."""
    data = encoded(ground(), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def hidden_scans(count: int) -> bytes:
    """The same, with a marker before each scan (TEM) that has no length: who reads one skips the scans behind it."""
    data = encoded(ground(), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + (b"\xff\x01" + data[last:-2]) * count + data[-2:]


def with_size(jpeg: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header claims another size."""
    frame = jpeg.index(b"\xff\xc0")
    return jpeg[: frame + 5] + struct.pack(">HH", height, width) + jpeg[frame + 9 :]


def oriented(tag: int) -> bytes:
    """`ground()` stored so that the EXIF tag brings it upright."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = tag
    image = ground().transpose(undo[tag]) if tag in undo else ground()
    return encoded(image, "PNG", exif=exif)


def palette_with_alpha() -> bytes:
    image = ground().quantize(16)
    return encoded(image, "PNG", transparency=bytes(range(0, 256, 16)))


def inserted(data: bytes, at: int, piece: bytes) -> bytes:
    return data[:at] + piece + data[at:]


def jpeg_segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def fractions(count: int) -> bytes:
    """EXIF whose orientation is many fractions: a reader that makes them all takes long for one small number."""
    entry = struct.pack(">HHHII", 1, 0x0112, 5, count, 26) + bytes(4)
    return b"MM\0*\0\0\0\x08" + entry + bytes(8 * count)


def overlapping(entries: int, size: int) -> bytes:
    """EXIF whose entries all point at the same bytes: a reader that copies them needs many times the file's size."""
    entry = struct.pack(">HHII", 0x9000, 7, size, 8)
    return b"MM\0*\0\0\0\x08" + struct.pack(">H", entries) + entry * entries + bytes(4 + size)


def many_chunks(count: int) -> bytes:
    """A WebP with empty chunks behind its picture."""
    still = encoded(ground(), "WEBP")[12:]
    canvas = struct.pack("<4sI4x", b"VP8X", 10) + (95).to_bytes(3, "little") + (79).to_bytes(3, "little")
    body = b"WEBP" + canvas + still + b"none\0\0\0\0" * count
    return b"RIFF" + struct.pack("<I", len(body)) + body


def files() -> dict[str, bytes]:
    plain = encoded(ground())
    frames = [ground(), ground().transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    sixteen = (np.asarray(ground())[..., 0].astype(np.uint16) * 257).astype("<u2")
    return {
        "truncated.jpg": plain[: len(plain) // 2],
        "truncated_header.jpg": plain[:40],
        "bomb.png": png(30_000, 30_000, bytes(30_000 * (30_000 // 8 + 1))),
        "lying_large.jpg": with_size(plain, 65_500, 65_500),
        "lying_below_limit.jpg": with_size(plain, 7_000, 7_000),
        "lying_size.png": png(96, 80, b"\x00" * 10, depth=8, colour=2),
        "scans_500.jpg": many_scans(500),
        "scans_hidden.jpg": hidden_scans(500),
        "empty.jpg": b"",
        "text.txt": b"This is not a photo.\n" * 20,
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
        "one_pixel.png": encoded(Image.new("RGB", (1, 1), (200, 30, 30)), "PNG"),
        "long_30000x1.png": encoded(Image.new("RGB", (30_000, 1), (200, 30, 30)), "PNG"),
        "tall_1x30000.png": encoded(Image.new("RGB", (1, 30_000), (200, 30, 30)), "PNG"),
        "animated.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "animated.png": encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "animated.webp": encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "two_pictures.mpo.jpg": encoded(frames[0], "MPO", save_all=True, append_images=frames[1:]),
        "cmyk.jpg": encoded(ground().convert("CMYK")),
        "sixteen_bit.png": encoded(Image.fromarray(sixteen), "PNG"),
        "palette_with_alpha.png": palette_with_alpha(),
        "damaged_exif.jpg": encoded(ground(), exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff"),
        "html_polyglot.jpg": plain + b"<html><script>alert(1)</script></html>",
        "plain.png": encoded(ground(), "PNG"),
        "exif_segments.jpg": inserted(plain, 2, jpeg_segment(0xE1, b"Exif\0\0") * 1001),
        "comments.jpg": inserted(plain, 2, jpeg_segment(0xFE, b"") * 1001),
        "escapes.jpg": inserted(plain, 2, b"\xff\x00" * 40_000),
        "chunks.png": inserted(encoded(ground(), "PNG"), 33, png_chunk(b"tIME", b"") * 1001),
        "pixel_chunks.png": inserted(encoded(ground(), "PNG"), 33, png_chunk(b"IDAT", b"") * 1001),
        "chunks.webp": many_chunks(1001),
        "exif_of_fractions.png": inserted(encoded(ground(), "PNG"), 33, png_chunk(b"eXIf", fractions(4000))),
        "exif_overlapping.png": inserted(encoded(ground(), "PNG"), 33, png_chunk(b"eXIf", overlapping(1000, 20_000))),
        "frames_that_warn.png": inserted(encoded(ground(), "PNG"), 33, png_chunk(b"acTL", bytes(8)) * 500),
        **{f"orientation_{tag}.png": oriented(tag) for tag in range(1, 9)},
    }


if __name__ == "__main__":
    for name, content in files().items():
        (HERE / name).write_bytes(content)
