"""`python -m bench.scale`: how many pods give 10 000, 100 000 and 1 000 000 images/s, and what they need and cost.

Computed from the costs in `bench/results`, as `bench.capacity` is, and from assumptions, which the options change.
Nothing is measured.
"""

import argparse
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import capacity
from bench.capacity import RESULTS, Costs

RATES = (10_000, 100_000, 1_000_000)
_PIXELS_BYTES = 224 * 224 * 3


@dataclass(frozen=True)
class Assumptions:
    """What no result says. Prices are in dollars; `busy` is the share of a pod's capacity that is planned with."""

    busy: float = 0.7
    nic_gbit: float = 25.0
    small_gpu_per_s: float = 4_400.0
    large_gpu_per_s: float = capacity.GPU_PER_S
    core_hour: float = 0.04
    small_gpu_hour: float = 0.40
    large_gpu_hour: float = 2.50


@dataclass(frozen=True)
class Pod:
    """One server: the machine, or the part of it, that is its own. `gpu_hour` in dollars, for all its GPUs."""

    name: str
    cores: int
    gpus: int = 0
    gpu_per_s: float = 0.0
    gpu_hour: float = 0.0


@dataclass(frozen=True)
class Sent:
    """What clients send for an image: its size, and µs of a core to decode it."""

    name: str
    size_bytes: int
    decode_us: float


@dataclass(frozen=True)
class Share:
    """What one pod gives, in images/s, with `busy` of its capacity; and what of it is used up first."""

    images_per_s: float
    limit: str
    per_million: float


def pods(assumed: Assumptions) -> tuple[Pod, ...]:
    """The kinds that are compared."""
    small, large = assumed.small_gpu_per_s, assumed.large_gpu_per_s
    return (
        Pod("16 cores, INT8", 16),
        Pod("64 cores, INT8", 64),
        Pod("8 cores, small GPU", 8, 1, small, assumed.small_gpu_hour),
        Pod("16 cores, large GPU", 16, 1, large, assumed.large_gpu_hour),
        Pod("32 cores, large GPU", 32, 1, large, assumed.large_gpu_hour),
    )


def kinds_of_requests(decode: Mapping[str, Any]) -> tuple[Sent, ...]:
    """From the figures of `bench.decode`. The first size is the mean of its 200 files; the second is an assumption."""
    simd = "bicubic, simd: ms of CPU a photo"
    return (
        Sent("500×375", 111_000, decode["as they are"][simd] * 1e3),
        Sent("12 megapixels", 4_000_000, decode["12 megapixels"][simd] * 1e3),
        Sent("pixels, 224×224", _PIXELS_BYTES, 0.0),
    )


def share(pod: Pod, sent: Sent, costs: Costs, assumed: Assumptions) -> Share:
    """The smallest of the pod's limits, of which the network is one more than `bench.capacity` has."""
    found = capacity.capacity(pod.cores, pod.gpus, dataclasses.replace(costs, decode=sent.decode_us), pod.gpu_per_s)
    network_per_s = assumed.nic_gbit * 1e9 / 8 / sent.size_bytes
    limit = found.limit if found.images_per_s <= network_per_s else "network"
    images_per_s = min(found.images_per_s, network_per_s) * assumed.busy
    price_s = (pod.cores * assumed.core_hour + pod.gpu_hour) / 3600
    return Share(images_per_s, limit, price_s / images_per_s * 1e6)


def table(costs: Costs, decode: Mapping[str, Any], assumed: Assumptions) -> str:
    """One row for each kind of pod and of request."""
    header = [
        "a pod",
        "sent",
        "images/s a pod",
        "used up first",
        *(f"pods for {_number(rate)}/s" for rate in RATES),
        "$ a million",
    ]
    rows = [
        _row(pod, sent, share(pod, sent, costs, assumed)) for pod in pods(assumed) for sent in kinds_of_requests(decode)
    ]
    return "\n".join([_line(header), "|---" * len(header) + "|", *map(_line, rows)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _row(pod: Pod, sent: Sent, given: Share) -> list[str]:
    count = [_number(math.ceil(rate / given.images_per_s)) for rate in RATES]
    return [pod.name, sent.name, _rounded(given.images_per_s), given.limit, *count, f"{given.per_million:.2f}"]


def network(decode: Mapping[str, Any]) -> str:
    """What all pods together receive, in Gbit/s: one row for each kind of request."""
    header = ["sent", *(f"{_number(rate)}/s" for rate in RATES)]
    rows = [
        [sent.name, *(_rounded(rate * sent.size_bytes * 8 / 1e9) for rate in RATES)]
        for sent in kinds_of_requests(decode)
    ]
    return "\n".join([_line(header), "|---" * len(header) + "|", *map(_line, rows)])


def _rounded(value: float) -> str:
    return _number(float(f"{value:.2g}"))


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")


def decode_figures() -> Mapping[str, Any]:
    """The committed figures of `bench.decode`."""
    found: Mapping[str, Any] = json.loads((RESULTS / "decode.json").read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Both tables, with the assumptions that were given."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    for field in dataclasses.fields(Assumptions):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default)
    assumed = Assumptions(**vars(parser.parse_args()))
    decode = decode_figures()
    print(table(capacity.measured(), decode, assumed))
    print()
    print(network(decode))


if __name__ == "__main__":
    main()
