"""Rounds: what is measured once in each round, of Sesame alone and of Sesame and Triton one after the other."""

import dataclasses
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bench import seresnet50
from bench.running import ROOT, running
from bench.triton import payload, perf, serving
from bench.triton.perf import FACES, Data, Loaded, Point
from bundle import files
from bundle.files import Bundle

_ALONE = (1, 2, 4, 8, 16, 32)
_SIDE_BY_SIDE = ((1, 1), (8, 1), (32, 1), (1, 32))
"""Requests at once, and images in each."""

_TURNS = 4
_PICTURES = 64
"""More than are under way at once: no request finds another one's answer."""

_SESAME = {"SESAME_ENGINE": "onnxruntime-cpu", "SESAME_PRECISION": "fp32", "SESAME_MAX_WAIT_MS": "60000"}
"""Triton's engine, and like Triton no rejection of requests that would wait for seconds."""


def bundle(network: str, folder: Path) -> Bundle:
    """The demo, or what is exported under a folder. Raises ExportFailed."""
    if network == "demo":
        return files.read(ROOT / "model_repository" / "demo" / "1")
    return files.read(seresnet50.export(folder / network))


def alone(photos: Sequence[Path], window_ms: int, folder: Path) -> list[Point]:
    """The demo on both faces, with files and with pixels."""
    demo = bundle("demo", folder)
    sent = photos[:_PICTURES]
    loads = [
        payload.write_images(sent, folder),
        payload.write_pixels(payload.pixels(sent, demo.manifest.preprocessing), folder),
    ]
    found, windows = [], perf.of_time(window_ms)
    os.environ |= _SESAME
    with running(demo.path.parent.parent) as sesame:
        for face in FACES:
            for load in loads:
                _tell(f"Sesame alone: {face}, {load.name}")
                found += [perf.measure(sesame, "demo", load, face, at_once, windows) for at_once in _ALONE]
    return found


def side_by_side(
    served: Bundle, photos: Sequence[Path], number: int, window_ms: int, folder: Path
) -> Iterator[dict[str, Any]]:
    """Points of both servers, one after the other alone on the machine; in each round the other one begins.

    Raises Disagrees where they name different classes.
    """
    os.environ |= _SESAME
    name = served.manifest.name
    pictures = payload.pixels(photos[:_PICTURES], served.manifest.preprocessing)
    load = payload.write_pixels(pictures, folder)
    starts: list[tuple[str, AbstractContextManager[Loaded]]] = [
        ("Sesame", running(served.path.parent.parent)),
        ("Triton", serving.started(served)),
    ]
    answers = []
    for label, start in starts if number % 2 == 0 else reversed(starts):
        _tell(f"round {number + 1}: {name}, {label}")
        with start as server:
            answers.append(payload.best_classes(server, name, pictures))
            share = payload.agreement(answers[-1], answers[0])
            for face in FACES:
                for point in _points(server, name, load, face, window_ms):
                    yield {"network": name, "server": label, "agreement": share, **dataclasses.asdict(point)}


def _points(server: Loaded, model: str, load: Data, face: str, window_ms: int) -> Iterator[Point]:
    """A window lasts longer where each of the requests under way would not be answered _TURNS times in it."""
    rate_per_s = 0.0
    for at_once, images in _SIDE_BY_SIDE:
        least_ms = math.ceil(1e3 * _TURNS * at_once * images / rate_per_s) if rate_per_s else 0
        windows = perf.of_time(max(window_ms, least_ms))
        point = perf.measure(server, model, dataclasses.replace(load, images=images), face, at_once, windows)
        rate_per_s = point.images_per_s
        yield point


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
