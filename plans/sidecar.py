"""Sidecar: what is known of a plan besides its bytes."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bundle.parity import Parity
from plans.gpus import Gpu

SCHEMA = 1
"""Of the sidecar and of how plans are built: plans of another one are built anew."""

Way = Literal["native", "pooled", "plugin"]
"""How SE blocks are computed: by TensorRT's own layers, by them with the means as average pools, or by the project's
kernels."""


@dataclass(frozen=True)
class Target:
    """Where a plan runs, and nowhere else: it takes the very TensorRT, and is tuned for one kind of GPU."""

    tensorrt: str
    gpu: str
    compute_capability: str
    multiprocessors: int
    driver: str
    platform: str

    @classmethod
    def of(cls, gpu: Gpu, tensorrt: str) -> "Target":
        machine = f"{platform.system()}-{platform.machine()}".lower()
        version = ".".join(tensorrt.split(".")[:4])  # a plan's own header has no .post1
        return cls(version, gpu.name, gpu.compute_capability, gpu.multiprocessors, gpu.driver, machine)


@dataclass(frozen=True)
class Layers:
    """What the engine is made of. `reformats`: copies of tensors into another layout; `se`: the layers of SE blocks."""

    count: int
    reformats: int
    se: tuple[str, ...]


@dataclass(frozen=True)
class Sidecar:
    """All that is known of a plan besides its bytes.

    `made_from` is all that the plan depends on, from which its key is made. `seconds`: of a batch, by way and batch
    size, as measured on this GPU when it was built; `parity`: on the bundle's probe.
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
    """sha256 of the canonical JSON."""
    return hashlib.sha256(json.dumps(made_from, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
