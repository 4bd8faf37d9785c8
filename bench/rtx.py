"""`python -m bench.rtx`: which networks, in which precisions, NVIDIA's own parser and builder take.

TensorRT for RTX is the 11 line's parser and builder, and builds ahead of time, without a GPU and without a driver. What
it refuses TensorRT refuses. What it makes is not what TensorRT makes, and it has no plugins in Python: functions of SE
are inlined. `make setup` puts its wheels beside the environment.
"""

import argparse
import datetime
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

from bench.running import ROOT
from export import narrow, precisions
from export.graph import ServedNetwork, to_onnx
from export.outline import outline
from export.samples import generated
from export.tensorrt.pooled import pooled
from models.paper import NETWORKS, seresnet
from models.se import block_name, se_modules

PRECISIONS = ("fp32", "fp16", "bf16", "int8-trt", "fp8")
WHEELS = Path(sys.prefix) / "tensorrt-rtx"

_LIMIT_S = 1200
_POOLED_ABOVE = 14 * 14  # as `export.tensorrt.ways`, which needs TensorRT to be imported
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
_SIDES = {"sevgg16": 224}
_SIDE = 96
"""Pixels: enough for each network but one, whose linear layers are for 224."""


def main() -> None:
    """A table goes to standard output, all outcomes to --json."""
    options = _parser().parse_args()
    if not WHEELS.is_dir():
        sys.exit(f"bench.rtx needs NVIDIA's wheels in {WHEELS}, and nothing was built: run `make setup`.")
    document: dict[str, Any] = {"made": datetime.date.today().isoformat(), "tensorrt-rtx": _version(), "networks": {}}
    print(f"{'':<40}" + "".join(f"{precision:>16}" for precision in PRECISIONS))
    for name in options.networks or ALL:
        rows = built(ALL[name], _SIDES.get(name, _SIDE))
        document["networks"][name] = rows
        print(f"{name:<40}" + "".join(f"{_told(rows, precision):>16}" for precision in PRECISIONS), flush=True)
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for name, rows in document["networks"].items():
        for row in rows:
            if not row["built"]:
                print(f"{name} {row['graph']}: {row['why']}")
    if not all(row["built"] for rows in document["networks"].values() for row in rows):
        sys.exit(1)


def built(build: Build, side: int, precisions: tuple[str, ...] = PRECISIONS) -> list[dict[str, Any]]:
    """What NVIDIA's parser and builder did with a network's graphs, a row for each precision and way."""
    with tempfile.TemporaryDirectory(prefix="sesame-rtx-") as folder:
        for name, graph in graphs(build, side, precisions):
            Path(folder, f"{name}.onnx").write_bytes(graph)
        return build_all(Path(folder))


def build_all(folder: Path) -> list[dict[str, Any]]:
    """The same for all graphs of a folder, in one process. Raises CalledProcessError where that fails."""
    command = [sys.executable, "-m", "bench.rtx_builds", str(folder)]
    with tempfile.TemporaryDirectory(prefix="sesame-rtx-") as site:
        ended = subprocess.run(
            command, cwd=ROOT, env=environment(Path(site)), stdout=subprocess.PIPE, timeout=_LIMIT_S, check=True
        )
    return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith(b"{")]


def environment(site: Path) -> dict[str, str]:
    """One in which `import tensorrt` is TensorRT for RTX, by a package that is written into an empty folder."""
    package = site / "tensorrt"
    package.mkdir()
    (package / "__init__.py").write_text(_ALIAS)
    paths = [str(site), str(WHEELS), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def graphs(build: Build, side: int, wanted: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """`fp16 native` and so on, with the graph as a bundle holds it or as the way has it."""
    network = _settled(build, side)
    blocks = [block_name(name) for name, _, _ in se_modules(network)]
    plain = to_onnx(ServedNetwork(network, (128.0,) * 3, (64.0,) * 3).eval(), side, side)
    for precision in wanted:
        graph = lowered(plain, precision, side)
        yield f"{precision} native", graph
        yield f"{precision} pooled", pooled(graph, blocks)[0]
        outlined = outline(graph, blocks, pooled_above=_POOLED_ABOVE)
        if outlined.blocks:  # others than SE's sigmoid stay as they are, and the graph with them
            yield f"{precision} outlined", outlined.model


def lowered(plain: bytes, precision: str, side: int) -> bytes:
    """The graph of that precision as `export convert` makes it, calibrated on a few generated images."""
    if precision in precisions.EIGHT_BIT:
        pixels = generated(side, side)[:4]
        return narrow.to_16_bit(precisions.eight_bit(precision, plain, pixels, lambda done, total: None), "fp16")
    return plain if precision == "fp32" else narrow.to_16_bit(plain, precision)


def _settled(build: Build, side: int) -> nn.Module:
    """Random weights, with statistics that keep activations in the range of a trained network's."""
    torch.manual_seed(1709)
    network = build()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of what passes through
    with torch.inference_mode():
        network.train()(torch.from_numpy(generated(side, side)[:8]).permute(0, 3, 1, 2) / 64 - 2)
    return network.eval()


def _version() -> str:
    (told,) = WHEELS.glob("tensorrt_rtx_cu12_libs-*.dist-info")
    return told.name.removesuffix(".dist-info").partition("-")[2]


def _told(rows: list[dict[str, Any]], precision: str) -> str:
    """Parsed and built, of how many ways."""
    mine = [row for row in rows if row["graph"].startswith(f"{precision} ")]
    return f"{sum(row['parsed'] for row in mine)} + {sum(row['built'] for row in mine)} of {len(mine)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.rtx", description=__doc__)
    parser.add_argument("networks", nargs="*", choices=[[], *ALL], help="which (default: all)", metavar="NETWORK")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "rtx.json")
    return parser


if __name__ == "__main__":
    main()
