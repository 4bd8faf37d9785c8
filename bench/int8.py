"""`python -m bench.int8`: what INT8 costs with weights of 8 and of 7 bits, on this CPU and on an x86 without VNNI."""

import argparse
import dataclasses
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import emulated, fitted
from bench.running import ROOT
from bundle import files, labelsets
from bundle.images import Pixels
from bundle.manifest import Preprocessing
from bundle.predictions import Probabilities
from export import commands, judge, labelled, proof, quantise, samples
from export.graph import to_onnx
from export.judge import Photos
from server import cores
from server.engines import Engine
from server.engines.ort import OrtCpuEngine
from server.engines.ov import OpenVinoCpuEngine

_DATA = ROOT.parent / "shared" / "data"
_LIMIT_S = 3600.0
_BATCH = 8
_HERE = "this CPU"
_RULES = {bits: dataclasses.replace(quantise.FOR_CPUS, seven_bits=bits == 7) for bits in (8, 7)}

Runs = Callable[[bytes, Pixels], Probabilities]


@dataclass(frozen=True)
class Network:
    """A network's fp32 graph, photos to calibrate and to judge on, and its answers to the latter."""

    name: str
    graph: bytes
    photos: Photos

    @cached_property
    def reference(self) -> Probabilities:
        return _on_onnxruntime(self.graph, self.photos.judged)

    def judged(self, engine: str, run: Runs, graph: bytes, most: int | None) -> judge.Verdict:
        """Its quantised graph on the photos, or on so many, evenly taken."""
        assert self.photos.truth is not None
        count = len(self.photos.judged)
        chosen = np.linspace(0, count - 1, min(most or count, count), dtype=int)
        pixels, truth = self.photos.judged[chosen], self.photos.truth[chosen]
        photos = dataclasses.replace(self.photos, judged=pixels, truth=truth)
        return judge.verdict(
            "model.int8.onnx", engine, "int8", photos, self.reference[chosen], run(graph, photos.judged)
        )


def main() -> None:
    """The table goes to standard output, every figure to --json."""
    options = _parser().parse_args()
    machine = {"processor": cores.processor(), "cores": cores.usable(), "instructions": cores.features()}
    rows: list[dict[str, Any]] = []
    for network in (network for network in _networks(options.data) if options.only in (None, network.name)):
        pixels = network.photos.calibration
        graphs = {bits: quantise.to_int8(network.graph, pixels, _silent, rules) for bits, rules in _RULES.items()}
        measured = [_costs(network, bits, graph, options.emulated) for bits, graph in graphs.items()]
        for row in chain(*measured, _speeds(network, graphs, options.rounds)):
            print(json.dumps(row), flush=True)
            rows.append(row)
    if options.json:
        document = {"machine": machine, "emulated": emulated.CPU, "rows": rows}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _networks(data: Path) -> Iterator[Network]:
    """The demo on Tiny ImageNet, a trained SE-ResNet-20 on CIFAR-10, and an SE-ResNet-50 fitted to that."""
    tiny, cifar = data / "tiny-imagenet", data / "cifar10"
    demo = files.read(files.newest(ROOT / "bundles" / "demo"))
    photos = judge.photos(tiny / "train", tiny / "val", demo.labels, demo.manifest.preprocessing)
    yield Network("demo", demo.graph("fp32")[1].read_bytes(), photos)
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        checkpoint = data / "weights" / "se_resnet20_cifar10_moskomule_r8.pth"
        commands.run(["convert", str(checkpoint), "--name", "cifar", "--labels", "cifar-10", "--bundles", folder])
        bundle = files.read(Path(folder) / "cifar" / "1")
        photos = judge.photos(cifar, None, bundle.labels, bundle.manifest.preprocessing)
        yield Network("SE-ResNet-20", bundle.graph("fp32")[1].read_bytes(), photos)
    yield _fitted(cifar)


def _fitted(cifar: Path) -> Network:
    labels = labelsets.named("cifar-10")
    fit = Preprocessing(224, 224, "short_side", 224, "bilinear", (125.3, 123.0, 113.9), (63.0, 62.1, 66.7))
    photos = judge.photos(cifar, None, labels, fit)
    paths = samples.paths(cifar)[::2]  # those that are not judged
    truth = labelled.classes(paths, cifar, labels)
    assert truth is not None
    pixels = np.stack([samples.picture(path, fit) for path in paths])
    served = fitted.seresnet50(pixels, torch.from_numpy(truth), len(labels), fit.mean, fit.std)
    return Network("SE-ResNet-50", to_onnx(served, fit.height, fit.width), photos)


def _costs(network: Network, bits: int, graph: bytes, most: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Accuracy and agreement in each engine, here and without VNNI."""
    ways: dict[tuple[str, str], Runs] = {
        ("onnxruntime", _HERE): _on_onnxruntime,
        ("openvino", _HERE): _on_openvino,
        ("onnxruntime", "AVX2"): partial(emulated.onnxruntime_probabilities, limit_s=_LIMIT_S),
        ("openvino", "AVX2"): partial(emulated.openvino_probabilities, limit_s=_LIMIT_S),
    }
    slow = ("onnxruntime", "AVX2")
    for (engine, cpu), run in ways.items():
        print(f"{network.name}, {bits} bits, {engine}, {cpu}", file=sys.stderr, flush=True)
        found = network.judged(engine, run, graph, most[network.name] if (engine, cpu) == slow else None)
        row = {"network": network.name, "bits": bits, "engine": engine, "cpu": cpu, "passed": found.passed}
        assert found.loss is not None
        yield row | dataclasses.asdict(found.parity) | {"loss": dataclasses.asdict(found.loss)}


def _on_onnxruntime(model: bytes, pixels: Pixels) -> Probabilities:
    return proof.onnx_probabilities(model, pixels, _silent)


def _on_openvino(model: bytes, pixels: Pixels) -> Probabilities:
    return proof.openvino_probabilities(model, pixels, "int8")


def _speeds(network: Network, quantised: Mapping[int, bytes], rounds: int) -> Iterator[dict[str, Any]]:
    """Of the engines that the server uses, in batches: how often as fast as fp32, both timed in each round in turns."""
    graphs = {"fp32": network.graph} | {f"{bits} bits": graph for bits, graph in quantised.items()}
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        made = {name: _engines(Path(folder) / f"{name}.onnx", graph) for name, graph in graphs.items()}
    pixels = np.resize(network.photos.judged, (_BATCH, *network.photos.judged.shape[1:]))
    for engine in ("onnxruntime", "openvino"):
        print(f"{network.name}, speed in {engine}", file=sys.stderr, flush=True)
        rows = [_seconds({name: engines[engine] for name, engines in made.items()}, pixels) for _ in range(rounds)]
        medians = {name: round(1e3 * statistics.median(row[name] for row in rows) / _BATCH, 3) for name in graphs}
        times = {
            f"fp32 / {name}": round(statistics.median(row["fp32"] / row[name] for row in rows), 2)
            for name in graphs if name != "fp32"
        }  # fmt: skip
        ratio = round(statistics.median(row["8 bits"] / row["7 bits"] for row in rows), 3)
        yield {"network": network.name, "engine": engine, "ms an image": medians, **times, "8 bits / 7 bits": ratio}


def _engines(path: Path, graph: bytes) -> dict[str, Engine]:
    path.write_bytes(graph)
    precision, threads = "fp32" if path.stem == "fp32" else "int8", cores.usable()
    return {
        "onnxruntime": OrtCpuEngine(path, threads, precision),
        "openvino": OpenVinoCpuEngine(path, threads, precision),
    }


def _seconds(engines: Mapping[str, Engine], pixels: Pixels) -> dict[str, float]:
    """The shorter of two runs each, in an order that is drawn anew: others may have disturbed one."""
    found: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(2):
        for name in random.sample(list(engines), len(engines)):
            began_s = time.perf_counter()
            engines[name].run(pixels)
            found[name].append(time.perf_counter() - began_s)
    return {name: min(each) for name, each in found.items()}


def _silent(done: int, total: int) -> None:
    pass


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.int8", description=__doc__)
    parser.add_argument("--data", type=Path, default=_DATA, help="folder with photos and weights")
    parser.add_argument("--only", metavar="NETWORK", help="one of the networks: demo, SE-ResNet-20 or SE-ResNet-50")
    parser.add_argument("--rounds", type=int, default=15, help="speeds are medians over so many; default 15")
    parser.add_argument(
        "--emulated",
        type=json.loads,
        default={"demo": 150, "SE-ResNet-20": 125, "SE-ResNet-50": 24},
        help="how many images of each network ONNX Runtime is given under qemu",
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures there too")
    return parser


if __name__ == "__main__":
    main()
