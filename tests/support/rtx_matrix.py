"""RTX matrix: every network in every precision and way, through NVIDIA's own parser and builder in TensorRT for RTX.

`python -m bench.rtx` prints the whole matrix; tests build the quick part of it.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from export import precisions
from export.graphs import to_16bit
from export.graphs.graph import ServedNetwork, to_onnx
from export.graphs.se_functions import outline
from export.proving.samples import generate
from export.tensorrt.pooled import use_average_pools
from models.architectures import NETWORKS, seresnet
from models.networks.se import block_name, se_modules

ROOT = Path(__file__).resolve().parents[2]
PRECISIONS = ("fp32", "fp16", "bf16", "int8-trt", "fp8")
WHEELS = Path(sys.prefix) / "tensorrt-rtx"

_LIMIT_S = 1200
_POOLED_ABOVE = 14 * 14  # as in `export.tensorrt.ways`, whose import needs TensorRT
_ALIAS = """import tensorrt_rtx_libs
from tensorrt_rtx_bindings import *
from tensorrt_rtx_bindings import __version__
"""

Build = Callable[[], nn.Module]


def _library(arch: str) -> Build:
    library, _, name = arch.partition(":")

    def build() -> nn.Module:
        # the operators that torchvision compiles do not fit every torch, and no network here has one of them
        sys.modules.setdefault("torchvision._meta_registrations", ModuleType("torchvision._meta_registrations"))
        module = importlib.import_module("timm" if library == "timm" else "torchvision.models")
        make = module.create_model if library == "timm" else module.get_model
        network: nn.Module = make(name, num_classes=20)
        return network

    return build


OURS: Mapping[str, Build] = {
    "seresnet18": lambda: seresnet(18, classes=20).build(),
    "seresnet50": lambda: seresnet(50, classes=20).build(),
    "seresnet50 variant B, pre": lambda: seresnet(50, classes=20, variant="B", se_place="pre").build(),
    "seresnet50 variant C, post": lambda: seresnet(50, classes=20, variant="C", se_place="post").build(),
    "seresnet26 variant D, deep, identity": lambda: seresnet(
        26, classes=20, variant="D", stem="deep", stem_channels=(32, 32, 64), shortcut="average", se_place="identity"
    ).build(),
    "seresnext50_32x4d": lambda: seresnet(50, classes=20, groups=32).build(),
    **{
        name: (lambda make=make: make().build())  # type: ignore[misc]
        for name, make in NETWORKS.items()
        if name not in ("seresnet50", "seresnet101", "seresnet152", "seresnext50_32x4d", "seresnext101_32x4d")
    },
}
LIBRARIES: Mapping[str, Build] = {
    arch: _library(arch)
    for arch in (
        *("timm:mobilenetv3_small_100", "timm:tf_mobilenetv3_large_100", "timm:efficientnet_b0", "timm:regnety_002"),
        *("timm:ghostnet_100", "timm:semnasnet_100", "timm:seresnet33ts", "timm:legacy_seresnet18"),
        *("timm:seresnext26d_32x4d", "timm:fbnetv3_b"),
        *("torchvision:mobilenet_v3_small", "torchvision:mobilenet_v3_large", "torchvision:efficientnet_b0"),
        *("torchvision:efficientnet_v2_s", "torchvision:regnet_y_400mf"),
    )
}
ALL = {**OURS, **LIBRARIES}
SIDES = {"sevgg16": 224}
SIDE = 96
"""Side of the input in pixels: enough for each network but one, whose linear layers are for 224."""


def build_network(build: Build, side: int, precisions: tuple[str, ...] = PRECISIONS) -> list[dict[str, Any]]:
    """The results for a network's graphs, one row for each precision and way."""
    with tempfile.TemporaryDirectory(prefix="sesame-rtx-") as folder:
        for name, graph in graphs(build, side, precisions):
            Path(folder, f"{name}.onnx").write_bytes(graph)
        return build_all(Path(folder))


def build_all(folder: Path) -> list[dict[str, Any]]:
    """The results for all graphs of a folder, from one process. Raises CalledProcessError where that process fails."""
    command = [sys.executable, "-m", "tests.support.rtx_builds", str(folder)]
    with tempfile.TemporaryDirectory(prefix="sesame-rtx-") as site:
        ended = subprocess.run(
            command, cwd=ROOT, env=environment(Path(site)), stdout=subprocess.PIPE, timeout=_LIMIT_S, check=True
        )
    return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith(b"{")]


def environment(site: Path) -> dict[str, str]:
    """An environment in which `import tensorrt` is TensorRT for RTX, through a package written to the folder `site`."""
    package = site / "tensorrt"
    package.mkdir()
    (package / "__init__.py").write_text(_ALIAS)
    paths = [str(site), str(WHEELS), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def graphs(build: Build, side: int, wanted: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Each graph by its name, for example `fp16 native`, in the form that the way builds from."""
    network = _with_statistics(build, side)
    blocks = [block_name(name) for name, _, _ in se_modules(network)]
    plain = to_onnx(ServedNetwork(network, (128.0,) * 3, (64.0,) * 3).eval(), side, side)
    for precision in wanted:
        graph = lower(plain, precision, side)
        yield f"{precision} native", graph
        yield f"{precision} pooled", use_average_pools(graph, blocks)[0]
        outlined = outline(graph, blocks, pooled_above=_POOLED_ABOVE)
        if outlined.blocks:  # without a block of the supported kind the graph is the same as native
            yield f"{precision} outlined", outlined.model


def lower(plain: bytes, precision: str, side: int) -> bytes:
    """The graph of that precision as `export convert` makes it, calibrated on a few generated images."""
    if precision in precisions.EIGHT_BIT:
        pixels = generate(side, side)[:4]
        return to_16bit.to_16_bit(precisions.to_eight_bit(precision, plain, pixels, lambda done, total: None), "fp16")
    return plain if precision == "fp32" else to_16bit.to_16_bit(plain, precision)


def _with_statistics(build: Build, side: int) -> nn.Module:
    """The network with random weights and batch norm statistics that keep activations in a trained network's range."""
    torch.manual_seed(1709)
    network = build()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of what passes through
    with torch.inference_mode():
        network.train()(torch.from_numpy(generate(side, side)[:8]).permute(0, 3, 1, 2) / 64 - 2)
    return network.eval()
