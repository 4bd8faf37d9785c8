"""`python -m bench.capacity`: images/s that machines of other sizes should reach, computed from costs measured here.

It reads the figures of `bench.fronts`, `bench.decode` and `bench.engines` in `bench/results`, and measures nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.running import ROOT
from server.startup.front_count import useful_fronts

RESULTS = ROOT / "bench" / "results"
CORES = (2, 4, 8, 16, 32, 64)
GPUS = (1, 2, 4, 8)
GPU_PER_S = 20_000
"""SE-ResNet-50 in one GPU of 2024, in images/s: an assumption, not measured here."""

_MEASURED_ON_CORES = 2


@dataclass(frozen=True)
class Costs:
    """µs of one CPU core for an image.

    `front`: receive, admit and answer, on the one event loop of a front or of a single process. `decode`: a JPEG of
    500 x 375. `core`: in the process with the engines, beside fronts. `engine`: SE-ResNet-50 on the CPU.
    """

    front: float
    decode: float
    core: float
    engine: float


@dataclass(frozen=True)
class Capacity:
    """`limit` names what is used up first."""

    images_per_s: float
    limit: str
    fronts: int


def capacity(cores: int, gpus: int, costs: Costs, gpu_per_s: float = GPU_PER_S) -> Capacity:
    """What a machine should reach with `--fronts auto`, where work divides evenly and nothing else runs."""
    fronts = useful_fronts(cores, gpus)
    a_photo = costs.front + costs.decode + (costs.core if fronts else 0) + (0 if gpus else costs.engine)
    limits = {
        "CPU cores": cores * 1e6 / a_photo,
        "event loops": max(fronts, 1) * 1e6 / costs.front,
        "GPUs": gpus * gpu_per_s if gpus else float("inf"),
        "core process": 1e6 / costs.core if fronts else float("inf"),
    }
    limit = min(limits, key=lambda name: limits[name])
    return Capacity(limits[limit], limit, fronts)


def measured(results: Path = RESULTS) -> Costs:
    """The costs in the committed results."""
    fronts, decode, engines = (
        json.loads((results / f"{name}.json").read_text(encoding="utf-8")) for name in ("fronts", "decode", "engines")
    )
    one_front = _point(fronts["medians"], fronts=1)  # its core has less to do at a time than a busy one
    return Costs(
        front=one_front["cpu_us"]["front-0"],
        decode=decode["as they are"]["bicubic, simd: ms of CPU a photo"] * 1e3,
        core=_alone(fronts["medians"], side=224)["core_us"],
        engine=engines["medians"]["openvino int8, batches of 8: ms an image"] * 1e3 * _MEASURED_ON_CORES,
    )


def _point(medians: list[Mapping[str, Any]], fronts: int) -> Mapping[str, Any]:
    return next(row for row in medians if row.get("network") == "no time" and row["fronts"] == fronts)


def _alone(medians: list[Mapping[str, Any]], side: int) -> Mapping[str, Any]:
    """The core alone, with an engine that takes no time."""
    return next(row for row in medians if row.get("side") == side and not row["batch_ms"])


def table(costs: Costs) -> str:
    """One row for each number of cores; each cell is images/s and the limit."""
    kinds = ["no GPU, INT8", *(f"{gpus} GPU{'s' * (gpus > 1)}" for gpus in GPUS)]
    lines = [f"| cores | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for cores in CORES:
        cells = [_cell(capacity(cores, gpus, costs)) for gpus in (0, *GPUS)]
        lines.append(f"| {cores} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(found: Capacity) -> str:
    return f"{float(f'{found.images_per_s:.2g}'):,.0f} ({found.limit})".replace(",", " ")


if __name__ == "__main__":
    print(table(measured()))
