"""`python -m bench.decode BUNDLE`: what a photo costs from bytes to pixels, exactly and fast; whether answers stay."""

import argparse
import io
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bench import data
from bench.photos import jpegs
from bundle import files, images
from bundle.images import Pixels
from bundle.manifest import Preprocessing
from bundle.predictions import Probabilities
from server.engines.onnxruntime_cpu import OrtCpuEngine

_LARGE = 12_000_000
_MAX_PIXELS = 50_000_000
_BATCH = 8


def main() -> None:
    """A row for the photos as they are, and one for them enlarged to 12 megapixels."""
    parser = argparse.ArgumentParser(prog="python -m bench.decode", description=__doc__)
    parser.add_argument(
        "bundle", type=Path, help="one version's folder: its preprocessing, and the network that judges"
    )
    parser.add_argument("--photos", type=Path, default=data.PHOTOS, help="folder of JPEG files")
    options = parser.parse_args()
    bundle = files.read(options.bundle)
    engine = OrtCpuEngine(bundle.graph("fp32")[1], threads=2)
    photos = [path.read_bytes() for path in jpegs(options.photos)]
    print(f"{'photos':<16}{'exact ms':>10}{'fast ms':>10}{'best class kept':>18}")
    for name, encoded in (("as they are", photos), ("12 megapixels", [_enlarged(photo) for photo in photos])):
        exact, exact_s = _decoded(encoded, bundle.manifest.preprocessing, exact=True)
        fast, fast_s = _decoded(encoded, bundle.manifest.preprocessing, exact=False)
        kept = (_answers(engine, exact).argmax(1) == _answers(engine, fast).argmax(1)).mean()
        print(f"{name:<16}{exact_s * 1e3:10.2f}{fast_s * 1e3:10.2f}{kept:18.1%}", flush=True)


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


def _decoded(photos: Sequence[bytes], wanted: Preprocessing, exact: bool) -> tuple[Pixels, float]:
    """The pixels, and the median seconds of one photo in one thread."""
    pictures, seconds = [], []
    for photo in photos:
        began_s = time.perf_counter()
        pictures.append(images.to_picture(photo, wanted, _MAX_PIXELS, exact))
        seconds.append(time.perf_counter() - began_s)
    return np.stack(pictures), statistics.median(seconds)


def _answers(engine: OrtCpuEngine, pixels: Pixels) -> Probabilities:
    return np.concatenate([engine.run(pixels[at : at + _BATCH]) for at in range(0, len(pixels), _BATCH)])


if __name__ == "__main__":
    main()
