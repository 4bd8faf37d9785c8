"""Front count: how many fronts `--fronts auto` means on this machine."""

import math
import sys
from collections.abc import Mapping
from importlib import metadata

from server.engines.table import wants_gpus
from server.host import cores, gpu_nodes
from server.settings import Settings

_LOOP_PER_S = 2000.0
"""Images/s that one event loop receives, admits and answers. Measured: 2320, with an engine that takes no time."""

_DECODED_PER_S = 500.0
"""Ordinary photos (500 x 375) that one core decodes a second. Measured: 450 to 850."""

_ON_CPU_PER_S = 75.0
"""Images/s of the CPU's engine on one core. Measured: 73, of an SE-ResNet-50 in INT8; what the network will be is not
known yet."""

_ON_GPU_PER_S = 20_000.0
"""Images/s of one GPU: what an SE-ResNet-50 may reach on the fastest ones. Slower ones leave fronts idle, which costs
memory only."""


def front_count(settings: Settings, environment: Mapping[str, str]) -> int:
    """The number that is set, or what `auto` means for the cores and GPUs that this process may use."""
    if isinstance(settings.fronts, int):
        return settings.fronts
    if sys.platform != "linux" or settings.shared_memory:  # only one process would know of a region
        return 0
    gpus = gpu_nodes.count(environment.get("CUDA_VISIBLE_DEVICES")) if _may_use_gpus(settings.engine) else 0
    return useful_fronts(cores.usable(), gpus)


def useful_fronts(cores: int, gpus: int) -> int:
    """0 where one event loop can do all that decoders and engines can, else one front for each loop that is needed.

    A front then has at least three cores, of which decoding takes two or more: the ratio of a loop's rate to a
    decoding core's is four. With GPUs one core is left to the process that feeds them.
    """
    loop_and_decode_s = 1 / _LOOP_PER_S + 1 / _DECODED_PER_S
    if gpus:
        images_per_s = min(gpus * _ON_GPU_PER_S, (cores - 1) / loop_and_decode_s)
    else:
        images_per_s = cores / (loop_and_decode_s + 1 / _ON_CPU_PER_S)
    loops = math.ceil(images_per_s / _LOOP_PER_S)
    return loops if loops > 1 else 0


def _may_use_gpus(engine: str) -> bool:
    """Whether an engine on GPUs may be chosen, and can be: without this package `trt.gpus` finds none."""
    try:
        metadata.version("cuda-core")
    except metadata.PackageNotFoundError:
        return False
    return wants_gpus(engine)
