"""Sidecar: the facts of a plan, stored beside its bytes."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bundle.parity import Parity
from trt.gpus import Gpu

SCHEMA = 1
"""The version of the sidecar and of how plans are built. Plans of another version are built again."""

Way = Literal["native", "pooled", "plugin"]
"""How SE blocks are computed: by TensorRT's own layers, the same with average pools as means, or by this project's
kernels."""


@dataclass(frozen=True)
class Target:
    """The only platform on which a plan runs: this exact TensorRT version and this kind of GPU."""

    tensorrt: str
    gpu: str
    compute_capability: str
    multiprocessors: int
    driver: str
    platform: str

    @classmethod
    def of(cls, gpu: Gpu, tensorrt: str) -> "Target":
        machine = f"{platform.system()}-{platform.machine()}".lower()
        version = ".".join(tensorrt.split(".")[:4])  # without .post1, as in the header of a plan
        return cls(version, gpu.name, gpu.compute_capability, gpu.multiprocessors, gpu.driver, machine)


@dataclass(frozen=True)
class Layers:
    """The layers of a plan. `reformats`: how many copy a tensor into another layout; `se`: those of SE blocks."""

    count: int
    reformats: int
    se: tuple[str, ...]


@dataclass(frozen=True)
class Sidecar:
    """The facts of a plan.

    `made_from` is everything that the plan depends on; its key is made from it. `seconds`: the time of a batch by way
    and batch size, measured on this GPU at the build. `parity`: on the bundle's probe. `se`: the way that was fastest.
    """

    schema: int
    key: str
    created: str
    bundle: str
    graph_sha256: str
    precision: str
    se: Way
    target: Target
    batch_sizes: tuple[int, ...]
    made_from: dict[str, str]
    seconds: dict[Way, dict[str, float]]
    parity: Parity
    layers: Layers | None
    sha256: str
    bytes: int


def key(made_from: Mapping[str, Any] | list[str]) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(json.dumps(made_from, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
