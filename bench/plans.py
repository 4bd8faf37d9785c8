"""`python -m bench.plans`: times SE-ResNet-50 in each way and ResNet-50 in TensorRT, and a busy batcher."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import seresnet50
from bench.engines import extra_bytes, graph_without_se
from bundle import files
from bundle.files import Bundle
from export.graphs import to_16bit
from export.graphs.se_functions import outline
from export.progress import Progress
from export.tensorrt.pooled import use_average_pools
from server.engines import batch_size
from server.engines.batch_size import powers_of_two
from server.engines.engine import start
from server.engines.restarting import RestartingEngine
from server.scheduling.admission import Admission
from server.scheduling.batch import Batch
from server.scheduling.batcher import Batcher
from server.scheduling.device import Device
from server.scheduling.fair_queue import Caller
from server.scheduling.latency import LatencyModel
from trt.gpus import Gpu, NoGpu, gpus
from trt.sidecar import Target
from trt.store import Store

_REQUEST = 32  # images
_AT_ONCE = 6  # requests
_WORKSPACE_BYTES = 4 << 30


def main() -> None:
    """A table goes to standard output, all figures to --json."""
    options = _parser().parse_args()
    try:
        gpu, *_ = gpus()
    except NoGpu as error:
        sys.exit(f"bench.plans needs a GPU and TensorRT, and nothing was measured: {error}.")
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        document = _measured(Path(folder), gpu, options)
    for name, rates in document["images_per_s"].items():
        print(f"{name:<16}" + "".join(f"{size:>5}: {rate:8.0f}/s" for size, rate in rates.items()))
    print(f"SE moves {extra_bytes() / 2e6:.0f} MB an image in 16 bit")
    print(f"the batcher, {_REQUEST} ready images a request: engine busy {document['busy']:.1%}, "
          f"{document['batcher_images_per_s']:.0f} images/s")  # fmt: skip
    options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _measured(folder: Path, gpu: Gpu, options: argparse.Namespace) -> dict[str, Any]:
    from export.tensorrt import timing
    from export.tensorrt.build import Builder
    from export.tensorrt.ways import POOLED_ABOVE, load_plugins
    from trt.runner import TENSORRT, Runner

    bundle = files.read(seresnet50.export(folder / "bundles"))
    batches = tuple(powers_of_two(options.max_batch))
    builder = Builder(batches, _WORKSPACE_BYTES, gpu.index, Target.of(gpu, TENSORRT), Store(folder))
    progress, runners = Progress(), {}
    for name, graph in _graphs(bundle, folder, options.precision, POOLED_ABOVE).items():
        progress.step(f"building {name}")
        if name == "plugin":
            major, minor = gpu.compute_capability.split(".")
            load_plugins().register((int(major), int(minor)))
        runners[name] = Runner(builder.build(graph, progress), gpu.index)
    seconds = timing.measure(runners, bundle.probe.pixels)
    fastest = runners[timing.fastest({way: seconds[way] for way in ("native", "pooled", "plugin")})]
    busy, rate = asyncio.run(_busy(fastest, bundle, options.seconds))
    rates = {name: {size: int(size) / took for size, took in sizes.items()} for name, sizes in seconds.items()}
    machine = {"gpu": gpu.name, "driver": gpu.driver, "tensorrt": TENSORRT, "precision": options.precision}
    return {"machine": machine, "images_per_s": rates, "busy": busy, "batcher_images_per_s": rate}


def _graphs(bundle: Bundle, folder: Path, precision: str, pooled_above: int) -> dict[str, bytes]:
    """The graph for each way, and the graph of the same network without SE."""
    graphs = {}
    for name, path in {"native": bundle.graph("fp32")[1], "without SE": graph_without_se(bundle, folder)}.items():
        plain = path.read_bytes()
        graphs[name] = plain if precision == "fp32" else to_16bit.to_16_bit(plain, precision)
    blocks = [row.name for row in bundle.manifest.architecture.se_blocks]
    plugin = outline(graphs["native"], blocks, pooled_above=pooled_above).model
    return {**graphs, "pooled": use_average_pools(graphs["native"], blocks)[0], "plugin": plugin}


async def _busy(runner: object, bundle: Bundle, seconds: float) -> tuple[float, float]:
    """The share of the time in which the engine had a batch, and images/s, for requests of prepared pixels."""
    engine = RestartingEngine("tensorrt", "fp16", lambda: runner)  # type: ignore[arg-type, return-value]
    pixels = np.resize(bundle.probe.pixels, (_REQUEST, *bundle.probe.pixels.shape[1:]))
    measured_s = batch_size.measure(engine, pixels, _REQUEST)
    infer_s: list[float] = []

    def seen(batch: Batch) -> None:
        infer_s.append(batch.infer_s)

    admission = Admission(_REQUEST * _AT_ONCE, 60)
    begin = partial(start, engine, classes=bundle.manifest.labels.classes)
    batcher = Batcher([begin], Device("gpu"), LatencyModel(measured_s), max(measured_s), admission, seen)
    ends_s = time.monotonic() + seconds
    answered = 0

    async def caller() -> None:
        nonlocal answered
        while time.monotonic() < ends_s:
            permits = batcher.reserve(_REQUEST, Caller(), time.monotonic() + 60)
            await asyncio.gather(*(permit.submit(image) for permit, image in zip(permits, pixels, strict=True)))
            for permit in permits:
                permit.release()
            answered += _REQUEST

    began_s = time.monotonic()
    await asyncio.gather(*(caller() for _ in range(_AT_ONCE)))
    took_s = time.monotonic() - began_s
    return sum(infer_s) / took_s, answered / took_s


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.plans", description=__doc__)
    parser.add_argument("--precision", choices=("fp32", "fp16", "bf16"), default="fp16")
    parser.add_argument("--max-batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "plans.json")
    return parser


if __name__ == "__main__":
    main()
