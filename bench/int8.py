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

from bench import data, fitted
from bench.running import ROOT
from bundle import files, labelsets
from bundle.images import Pixels
from bundle.manifest import Preprocessing
from bundle.predictions import Probabilities
from export import commands
from export.graphs import int8
from export.graphs.graph import to_onnx
from export.proving import accuracy_gate, labelled, reference_runs, samples
from export.proving.accuracy_gate import GatePhotos
from server.engines.engine import Engine
from server.engines.onnxruntime_cpu import OrtCpuEngine
from server.engines.openvino_cpu import OpenVinoCpuEngine
from server.host import cores
from tests.support import without_vnni

_LIMIT_S = 3600.0
_BATCH = 8
_HERE = "this CPU"
_RULES = {bits: dataclasses.replace(int8.FOR_CPUS, seven_bits=bits == 7) for bits in (8, 7)}

RunGraph = Callable[[bytes, Pixels], Probabilities]


@dataclass(frozen=True)
class Network:
    """A network's fp32 graph, its photos, and its reference answers to the judged photos."""

    name: str
    graph: bytes
    photos: GatePhotos

    @cached_property
    def reference(self) -> Probabilities:
        return _on_onnxruntime(self.graph, self.photos.judged)

    def judge(self, engine: str, run: RunGraph, graph: bytes, most: int | None) -> accuracy_gate.Verdict:
        """The result of a quantised graph on the judged photos, or on an even selection of at most `most`."""
        assert self.photos.truth is not None
        count = len(self.photos.judged)
        chosen = np.linspace(0, count - 1, min(most or count, count), dtype=int)
        pixels, truth = self.photos.judged[chosen], self.photos.truth[chosen]
        photos = dataclasses.replace(self.photos, judged=pixels, truth=truth)
        return accuracy_gate.evaluate(
            "model.int8.onnx", engine, "int8", photos, self.reference[chosen], run(graph, photos.judged)
        )


def main() -> None:
    """A line for each result goes to standard output, all results to --json."""
    options = _parser().parse_args()
    machine = {"processor": cores.processor(), "cores": cores.usable(), "instructions": cores.features()}
    rows: list[dict[str, Any]] = []
    for network in (network for network in _networks(options.data) if options.only in (None, network.name)):
        pixels = network.photos.calibration
        graphs = {bits: int8.to_int8(network.graph, pixels, _silent, rules) for bits, rules in _RULES.items()}
        measured = [_costs(network, bits, graph, options.emulated) for bits, graph in graphs.items()]
        for row in chain(*measured, _speeds(network, graphs, options.rounds)):
            print(json.dumps(row), flush=True)
            rows.append(row)
    if options.json:
        document = {"machine": machine, "emulated": without_vnni.CPU, "rows": rows}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _networks(data_folder: Path) -> Iterator[Network]:
    """The demo on Tiny ImageNet, a trained SE-ResNet-20 on CIFAR-10, and an SE-ResNet-50 fitted to that."""
    tiny, cifar = data_folder / "tiny-imagenet", data_folder / "cifar10"
    demo = files.read(files.newest(ROOT / "model_repository" / "demo"))
    photos = accuracy_gate.load_photos(tiny / "train", tiny / "val", demo.labels, demo.manifest.preprocessing)
    yield Network("demo", demo.graph("fp32")[1].read_bytes(), photos)
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        checkpoint = data_folder / "weights" / "se_resnet20_cifar10_moskomule_r8.pth"
        commands.run(
            ["convert", str(checkpoint), "--name", "cifar", "--labels", "cifar-10", "--model-repository", folder]
        )
        bundle = files.read(Path(folder) / "cifar" / "1")
        photos = accuracy_gate.load_photos(cifar, None, bundle.labels, bundle.manifest.preprocessing)
        yield Network("SE-ResNet-20", bundle.graph("fp32")[1].read_bytes(), photos)
    yield _fitted(cifar)


def _fitted(cifar: Path) -> Network:
    labels = labelsets.named("cifar-10")
    preprocessing = Preprocessing(224, 224, "short_side", 224, "bilinear", (125.3, 123.0, 113.9), (63.0, 62.1, 66.7))
    photos = accuracy_gate.load_photos(cifar, None, labels, preprocessing)
    paths = samples.find_photos(cifar)[::2]  # those that are not judged
    truth = labelled.class_indices(paths, cifar, labels)
    assert truth is not None
    pixels = np.stack([samples.load_picture(path, preprocessing) for path in paths])
    served = fitted.seresnet50(pixels, torch.from_numpy(truth), len(labels), preprocessing.mean, preprocessing.std)
    return Network("SE-ResNet-50", to_onnx(served, preprocessing.height, preprocessing.width), photos)


def _costs(network: Network, bits: int, graph: bytes, most: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Accuracy and agreement in each engine, on this CPU and without VNNI."""
    engines: dict[tuple[str, str], RunGraph] = {
        ("onnxruntime", _HERE): _on_onnxruntime,
        ("openvino", _HERE): _on_openvino,
        ("onnxruntime", "AVX2"): partial(without_vnni.onnxruntime_probabilities, limit_s=_LIMIT_S),
        ("openvino", "AVX2"): partial(without_vnni.openvino_probabilities, limit_s=_LIMIT_S),
    }
    slow = ("onnxruntime", "AVX2")
    for (engine, cpu), run in engines.items():
        print(f"{network.name}, {bits} bits, {engine}, {cpu}", file=sys.stderr, flush=True)
        found = network.judge(engine, run, graph, most[network.name] if (engine, cpu) == slow else None)
        row = {"network": network.name, "bits": bits, "engine": engine, "cpu": cpu, "passed": found.passed}
        assert found.loss is not None
        yield row | dataclasses.asdict(found.parity) | {"loss": dataclasses.asdict(found.loss)}


def _on_onnxruntime(model: bytes, pixels: Pixels) -> Probabilities:
    return reference_runs.onnx_probabilities(model, pixels, _silent)


def _on_openvino(model: bytes, pixels: Pixels) -> Probabilities:
    return reference_runs.openvino_probabilities(model, pixels, "int8")


def _speeds(network: Network, quantised: Mapping[int, bytes], rounds: int) -> Iterator[dict[str, Any]]:
    """The speedup over fp32 in the server's engines, in batches. Each round times all graphs in turns."""
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
    """The shorter of two runs each, in a random order: another process may have disturbed one of them."""
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
    parser.add_argument("--data", type=Path, default=data.FOLDER, help="folder with photos and weights")
    parser.add_argument("--only", metavar="NETWORK", help="one of the networks: demo, SE-ResNet-20 or SE-ResNet-50")
    parser.add_argument("--rounds", type=int, default=15, help="speeds are medians over so many rounds (default: 15)")
    parser.add_argument(
        "--emulated",
        type=json.loads,
        default={"demo": 150, "SE-ResNet-20": 125, "SE-ResNet-50": 24},
        help="JSON: the number of images of each network that ONNX Runtime runs under qemu",
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write all results to this file")
    return parser


if __name__ == "__main__":
    main()
