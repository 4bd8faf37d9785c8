"""`python -m bench.decode BUNDLE`: what decoding costs, by Pillow and with SIMD, and whether answers stay."""

import argparse
import dataclasses
import io
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from bench import data
from bench.photos import jpegs
from bundle import fast_jpeg, files, images
from bundle.headers import read_header
from bundle.headers.header import Header
from bundle.images import Pixels
from bundle.manifest import Preprocessing
from bundle.predictions import Probabilities
from server.engines.onnxruntime_cpu import OrtCpuEngine
from server.host import cores, process

_LARGE = 12_000_000
_MAX_PIXELS = 50_000_000
_BATCH = 8
_THREADS = (1, 2)
_INTERPOLATIONS: tuple[Literal["bicubic", "bilinear"], ...] = ("bicubic", "bilinear")
Read = tuple[bytes, Header]

WAYS = ("exact", "pillow", "simd")
"""`exact_pixels`; fast decoding by Pillow alone; fast decoding with simplejpeg and cykooz-resizer."""


def main() -> None:
    """For the photos as they are, and enlarged to 12 megapixels: speed in both filters, and the network's answers."""
    options = _parser().parse_args()
    if not fast_jpeg.AVAILABLE:
        raise SystemExit(f"bench.decode: needs {' and '.join(fast_jpeg.PACKAGES)}: pip install them.")
    process.give_memory_back()  # as the server does: it decides whether a decode meets fresh memory
    bundle = files.read(options.bundle)
    preprocessing = bundle.manifest.preprocessing
    engine = OrtCpuEngine(bundle.graph("fp32")[1], threads=cores.usable())
    photos = [path.read_bytes() for path in jpegs(options.photos)]
    print(f"{cores.processor()}, {fast_jpeg.instructions()}")
    found: dict[str, Any] = {"processor": cores.processor(), "photos": len(photos), "timed": options.timed}
    for name, encoded in (("as they are", photos), ("12 megapixels", [_enlarged(photo) for photo in photos])):
        found[name] = _speeds(encoded[: options.timed], preprocessing, options.rounds)
        found[name] |= _agreement(engine, encoded, preprocessing)
        for figure, value in found[name].items():
            print(f"{name + ', ' + figure:<64}{value:10.3f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _speeds(photos: Sequence[bytes], wanted: Preprocessing, rounds: int) -> dict[str, float]:
    """Medians over rounds, in which the ways take turns. Headers are read before: the event loop does that."""
    read = [(photo, read_header(photo, _MAX_PIXELS)) for photo in photos]
    found = {}
    for interpolation in _INTERPOLATIONS:
        filtered = dataclasses.replace(wanted, interpolation=interpolation)
        seen = [[_cost_s(read, filtered, way) for way in WAYS] for _ in range(rounds)]
        for at, way in enumerate(WAYS):
            found[f"{interpolation}, {way}: ms of CPU a photo"] = statistics.median(row[at] for row in seen) * 1e3
        ratios = [row[WAYS.index("pillow")] / row[WAYS.index("simd")] for row in seen]
        found[f"{interpolation}: photos per second and core, simd / pillow"] = statistics.median(ratios)
        for threads in _THREADS:
            rates = [[_per_s(read, filtered, way, threads) for way in WAYS[1:]] for _ in range(rounds)]
            for at, way in enumerate(WAYS[1:]):
                name = f"{interpolation}, {way}, photos/s in {threads} thread{'s' if threads > 1 else ''}"
                found[name] = statistics.median(row[at] for row in rates)
    return found


def _cost_s(photos: Sequence[Read], wanted: Preprocessing, way: str) -> float:
    """Seconds of CPU a photo, in one thread beside the main one, as the server decodes."""

    def all_s() -> float:
        began_s = time.thread_time()
        for photo, header in photos:
            images.decode(photo, header, wanted, way == "exact")
        return time.thread_time() - began_s

    with _by(way), ThreadPoolExecutor(1) as pool:
        return pool.submit(all_s).result() / len(photos)


def _per_s(photos: Sequence[Read], wanted: Preprocessing, way: str, threads: int) -> float:
    """Photos a second, by the clock on the wall."""

    def decode(photo: Read) -> None:
        images.decode(*photo, wanted, way == "exact")

    with _by(way), ThreadPoolExecutor(threads) as pool:
        list(pool.map(decode, photos[:threads]))
        began_s = time.perf_counter()
        list(pool.map(decode, photos))
        return len(photos) / (time.perf_counter() - began_s)


def _agreement(engine: OrtCpuEngine, photos: Sequence[bytes], wanted: Preprocessing) -> dict[str, float]:
    """How far pixels and answers of both fast ways are from those of the exact one."""
    pixels = {way: _decoded(photos, wanted, way) for way in WAYS}
    answers = {way: _answers(engine, each) for way, each in pixels.items()}
    found: dict[str, float] = {}
    for way in WAYS[1:]:
        differences = abs(pixels[way].astype(np.int16) - pixels["exact"])
        found |= {
            f"{way}: same best class as exact, %": float(
                (answers[way].argmax(1) == answers["exact"].argmax(1)).mean() * 100
            ),
            f"{way}: mean difference from exact, of 255": float(differences.mean()),
            f"{way}: largest difference from exact, of 255": float(differences.max()),
            f"{way}: largest difference of a probability": float(abs(answers[way] - answers["exact"]).max()),
        }
    return found


@contextmanager
def _by(way: str) -> Iterator[None]:
    """With SIMD, or as on a machine for which it has no wheels."""
    fast_jpeg.AVAILABLE = way == "simd"
    yield
    fast_jpeg.AVAILABLE = True


def _enlarged(photo: bytes) -> bytes:
    """With as many pixels as a telephone's: smooth, so that nothing but size makes it slow."""
    with Image.open(io.BytesIO(photo)) as image:
        by = (_LARGE / (image.width * image.height)) ** 0.5
        large = image.convert("RGB").resize(
            (round(image.width * by), round(image.height * by)), Image.Resampling.BICUBIC
        )
    file = io.BytesIO()
    large.save(file, "JPEG", quality=90)
    return file.getvalue()


def _decoded(photos: Sequence[bytes], wanted: Preprocessing, way: str) -> Pixels:
    with _by(way):
        return np.stack([images.to_picture(photo, wanted, _MAX_PIXELS, way == "exact") for photo in photos])


def _answers(engine: OrtCpuEngine, pixels: Pixels) -> Probabilities:
    return np.concatenate([engine.run(pixels[at : at + _BATCH]) for at in range(0, len(pixels), _BATCH)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.decode", description=__doc__)
    parser.add_argument(
        "bundle", type=Path, help="one version's folder: its preprocessing, and the network that judges"
    )
    parser.add_argument("--photos", type=Path, default=data.PHOTOS, help="folder of JPEG files")
    parser.add_argument("--timed", type=int, default=60, help="time only the first so many of them; default 60")
    parser.add_argument("--rounds", type=int, default=5, help="medians are over so many; default 5")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there too")
    return parser


if __name__ == "__main__":
    main()
