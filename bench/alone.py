"""Alone: what decoding a photo and running the engine each take by themselves, in this process, with no load on."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bundle import files, images
from bundle.images import Picture
from server.engines.onnxruntime_cpu import OrtCpuEngine
from server.host import cores

BATCHES = (1, 2, 4, 8, 16, 32)

_MAX_PIXELS = 50_000_000  # the server's default
_LEAST_RUNS, _LEAST_IMAGES = 3, 16  # of each batch size


@dataclass(frozen=True)
class Alone:
    """Seconds for one photo, and the `cores` that they were measured on.

    `decode_s` and `decode_mean_s`: decoding in one thread, median and mean over the photos; `one_s`: the engine,
    a thread for each core, on a batch of one; `engine_s`: its best share of a batch, which was one of `best_batch`.
    """

    decode_s: float
    decode_mean_s: float
    one_s: float
    engine_s: float
    best_batch: int
    cores: int

    @property
    def ceiling_per_s(self) -> float:
        """Images/s if all cores did nothing but decode and run the engine at its best batch size.

        The engine's seconds for one image are those of all cores, the decoder's those of one.
        """
        return self.cores / (self.decode_s + self.engine_s * self.cores)


class Bench:
    """A bundle's photos and engine, ready to be measured."""

    def __init__(self, bundle: Path, photos: Sequence[Path]) -> None:
        """Raises BundleError where the bundle cannot be opened, ImageError where a photo cannot be decoded."""
        opened = files.read(bundle)
        self._preprocessing = opened.manifest.preprocessing
        self._encoded = [path.read_bytes() for path in photos]
        self._pictures = [self._decoded(encoded) for encoded in self._encoded[: max(BATCHES)]]
        self._cores = cores.usable()
        self._engine = OrtCpuEngine(opened.graph("fp32")[1], threads=self._cores)

    def measure(self) -> Alone:
        """Some seconds of work, after one run of each batch size that is not counted."""
        decoding = [_seconds(partial(self._decoded, encoded)) for encoded in self._encoded]
        running = {size: self.batch_s(size) / size for size in BATCHES}
        best = min(running, key=running.__getitem__)
        return Alone(
            decode_s=statistics.median(decoding),
            decode_mean_s=statistics.fmean(decoding),
            one_s=running[1],
            engine_s=running[best],
            best_batch=best,
            cores=self._cores,
        )

    def _decoded(self, encoded: bytes) -> Picture:
        return images.to_picture(encoded, self._preprocessing, _MAX_PIXELS, exact=False)

    def batch_s(self, size: int) -> float:
        """Median seconds of a batch; photos are taken in turn where they are fewer than it."""
        pixels = np.stack([self._pictures[index % len(self._pictures)] for index in range(size)])
        self._engine.run(pixels)
        runs = max(_LEAST_RUNS, _LEAST_IMAGES // size)
        return statistics.median(_seconds(partial(self._engine.run, pixels)) for _ in range(runs))


def mean(before: Alone, after: Alone) -> Alone:
    """What holds between two measurements, as the machine's speed drifts; the better batch size of the two."""
    better = min(before, after, key=lambda alone: alone.engine_s)
    return Alone(
        decode_s=(before.decode_s + after.decode_s) / 2,
        decode_mean_s=(before.decode_mean_s + after.decode_mean_s) / 2,
        one_s=(before.one_s + after.one_s) / 2,
        engine_s=(before.engine_s + after.engine_s) / 2,
        best_batch=better.best_batch,
        cores=better.cores,
    )


def _seconds(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s
