"""`python -m bench.engines`: SE-ResNet-50 in every engine and precision, what SE costs, and INT8 over HTTP."""

import argparse
import dataclasses
import importlib.util
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench import data, seresnet50, wrk
from bench.photos import jpegs
from bench.running import running
from bundle import files
from bundle.files import Bundle
from bundle.images import Pixels
from export.graphs.graph import ServedNetwork, to_onnx
from models.architectures import none, seresnet
from models.networks.se import SEBlock
from server.engines.engine import Engine
from server.engines.onnxruntime_cpu import OrtCpuEngine
from server.host import cores

_BATCHES = (1, 2, 4, 8)
_CONNECTIONS = 32
_NO_SE = " without SE"


@dataclass(frozen=True)
class EngineRound:
    """Milliseconds an image of each engine by batch size, and images/s of whole servers by precision.

    `copied_gb_per_s`: what all cores together copy, read and written.
    """

    ms: dict[str, dict[int, float]]
    copied_gb_per_s: float
    http_per_s: dict[str, float]

    def best(self, precision: str) -> float:
        """Milliseconds an image of the fastest engine at its best batch size."""
        return min(min(times.values()) for name, times in self.ms.items() if name.endswith(precision))

    def se_costs(self, engine: str) -> float:
        """Share of the time without SE, each at its best batch size."""
        return min(self.ms[engine].values()) / min(self.ms[engine + _NO_SE].values()) - 1


def main() -> None:
    """Medians over the rounds go to standard output, every figure of every round to --json."""
    options = _parser().parse_args()
    photos = jpegs(options.photos)
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        judged = ["--calibrate", str(options.calibrate), "--judge", str(options.photos)]
        path = seresnet50.export(Path(folder) / "bundles", "--precision", "fp32,int8,bf16", *judged)
        bundle = files.read(path)
        engines = _engines(bundle, graph_without_se(bundle, Path(folder)))
        rounds = []
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
            ms = _milliseconds(engines, bundle.probe.pixels, random.Random(number))
            http = {precision: _over_http(path, photos, options.seconds, precision) for precision in ("fp32", "int8")}
            rounds.append(EngineRound(ms, _copied_gb_per_s(), http))
    medians = _medians(rounds)
    for name, figure in medians.items():
        print(f"{name:<56}{figure:10.2f}")
    if options.json:
        document = {"medians": medians, "rounds": [dataclasses.asdict(row) for row in rounds]}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _engines(bundle: Bundle, without_se: Path) -> dict[str, Engine]:
    """All that run a graph of the bundle here, and those of fp32 over the network without SE."""
    threads, plain, int8 = cores.usable(), bundle.graph("fp32")[1], bundle.graph("int8")[1]
    engines: dict[str, Engine] = {
        "onnxruntime fp32": OrtCpuEngine(plain, threads),
        "onnxruntime fp32" + _NO_SE: OrtCpuEngine(without_se, threads),
        "onnxruntime int8": OrtCpuEngine(int8, threads, "int8"),
    }
    if importlib.util.find_spec("openvino"):
        from server.engines import openvino_cpu

        engines["openvino fp32" + _NO_SE] = openvino_cpu.OpenVinoCpuEngine(without_se, threads, "fp32")
        engines["openvino int8"] = openvino_cpu.OpenVinoCpuEngine(int8, threads, "int8")
        for precision in openvino_cpu.precisions():
            engines[f"openvino {precision}"] = openvino_cpu.OpenVinoCpuEngine(plain, threads, precision)
    return engines


def graph_without_se(bundle: Bundle, folder: Path) -> Path:
    preprocessing = bundle.manifest.preprocessing
    network = ServedNetwork(seresnet(50, squeeze=none).build(), preprocessing.mean, preprocessing.std).eval()
    path = folder / "resnet50.onnx"
    path.write_bytes(to_onnx(network, preprocessing.height, preprocessing.width))
    return path


def _milliseconds(engines: dict[str, Engine], pixels: Pixels, chance: random.Random) -> dict[str, dict[int, float]]:
    """Medians. Engines take turns in an order that is drawn anew each time: each leaves the caches to the next."""
    found: dict[str, dict[int, float]] = {name: {} for name in engines}
    for batch in _BATCHES:
        images = np.resize(pixels, (batch, *pixels.shape[1:]))
        seconds: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(max(4, 16 // batch)):
            for name in chance.sample(list(engines), len(engines)):
                began_s = time.perf_counter()
                engines[name].run(images)
                seconds[name].append(time.perf_counter() - began_s)
        for name, each in seconds.items():
            found[name][batch] = statistics.median(each) / batch * 1e3
    return found


def _over_http(bundle: Path, photos: Sequence[Path], seconds: int, precision: str) -> float:
    """Images/s of a server that chooses its engine, of those with this precision."""
    os.environ["SESAME_PRECISION"] = precision
    with running(bundle.parent.parent) as server:
        return wrk.load(server, photos, _CONNECTIONS, seconds).images_per_s


def extra_bytes() -> int:
    """What SE must move for a float32 image: its input is written, read for the mean, and read for the scale."""
    sizes: list[int] = []
    network = seresnet(50).build().eval()
    for module in network.modules():
        if isinstance(module, SEBlock):
            module.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].numel()))
    with torch.inference_mode():
        network(torch.zeros(1, 3, 224, 224))
    return 3 * 4 * sum(sizes)


def _copied_gb_per_s() -> float:
    """By all cores at once, in arrays as large as the largest that SE meets: 256 x 56 x 56."""
    count, each, times = cores.usable(), 256 * 56 * 56, 100
    pairs = [(np.ones(each, np.float32), np.zeros(each, np.float32)) for _ in range(count)]

    def copy(pair: tuple[NDArray[Any], NDArray[Any]]) -> None:
        for _ in range(times):
            np.copyto(*pair)

    with ThreadPoolExecutor(count) as pool:
        began_s = time.perf_counter()
        list(pool.map(copy, pairs))
        return count * times * 2 * 4 * each / (time.perf_counter() - began_s) / 1e9


def _medians(rounds: Sequence[EngineRound]) -> dict[str, float]:
    def median(of: Callable[[EngineRound], float]) -> float:
        return round(statistics.median(map(of, rounds)), 3)

    found = {}
    for name in rounds[0].ms:
        for batch in _BATCHES:
            found[f"{name}, batches of {batch}: ms an image"] = median(lambda row: row.ms[name][batch])  # noqa: B023
    for precision in ("int8", "bf16"):
        if any(name.endswith(precision) for name in rounds[0].ms):
            found[f"best fp32 / best {precision}"] = median(lambda row: row.best("fp32") / row.best(precision))  # noqa: B023
    for engine in [name for name in rounds[0].ms if name + _NO_SE in rounds[0].ms]:
        found[f"{engine}: SE costs, %"] = median(lambda row: 100 * row.se_costs(engine))  # noqa: B023
    extra = extra_bytes()
    found["bytes that SE moves, MB"] = extra / 1e6
    found["copied by all cores, GB/s"] = median(lambda row: row.copied_gb_per_s)
    found["those bytes, % of onnxruntime fp32 without SE"] = median(
        lambda row: 100 * extra / row.copied_gb_per_s / 1e6 / min(row.ms["onnxruntime fp32" + _NO_SE].values())
    )
    for precision in ("fp32", "int8"):
        found[f"{precision} over HTTP, {_CONNECTIONS} connections: images/s"] = median(
            lambda row: row.http_per_s[precision]  # noqa: B023
        )
    found["int8 / fp32 over HTTP"] = median(lambda row: row.http_per_s["int8"] / row.http_per_s["fp32"])
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.engines", description=__doc__)
    parser.add_argument("--photos", type=Path, default=data.PHOTOS, help="folder of JPEG files to send and judge on")
    parser.add_argument(
        "--calibrate", type=Path, default=data.TINY_IMAGENET / "train", help="folder of photos for INT8's ranges"
    )
    parser.add_argument("--rounds", type=int, default=5, help="medians are over so many; default 5")
    parser.add_argument("--seconds", type=int, default=10, help="of each load over HTTP; default 10")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures of all rounds there too")
    return parser


if __name__ == "__main__":
    main()
