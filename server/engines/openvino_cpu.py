"""OpenVINO on the CPU."""

import queue
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from bundle.files import Bundle
from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.engines import on_cpu
from server.engines.candidate import Candidate
from server.engines.machine import Machine
from server.engines.per_core import PerCoreEngine
from server.engines.table import OPENVINO_CPU

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # the import below would report itself

# isort: split
import openvino  # noqa: E402
from openvino import properties  # noqa: E402
from openvino.properties import hint  # noqa: E402


def candidates(bundle: Bundle, machine: Machine) -> Iterator[Candidate]:
    return on_cpu.candidates(OPENVINO_CPU, OpenVinoCpuEngine, precisions(), bundle, machine)


class OpenVinoCpuEngine:
    """A graph in OpenVINO's CPU plugin. It computes floats in bfloat16 where `precision` is bf16, else in float32."""

    name = OPENVINO_CPU.name

    def __init__(self, graph: Path, threads: int, precision: str) -> None:
        self.precision = precision
        core = openvino.Core()
        model = core.read_model(graph)
        floats = openvino.Type.bf16 if precision == "bf16" else openvino.Type.f32
        config = {
            hint.inference_precision: floats,
            hint.enable_cpu_pinning: False,  # decoding shares the cores
            properties.inference_num_threads: threads,
        }
        alone, together = (
            partial(_infer, _requests(core.compile_model(model, "CPU", {**config, properties.num_streams: streams})))
            for streams in (threads, 1)
        )
        per_core = PerCoreEngine(threads, alone, together)
        self.start, self.run = per_core.start, per_core.run


Requests = queue.SimpleQueue[openvino.InferRequest]


def _requests(compiled: openvino.CompiledModel) -> Requests:
    """One for each of the model's streams, which run in parallel."""
    free: Requests = queue.SimpleQueue()
    for _ in range(compiled.get_property(properties.num_streams)):
        free.put(compiled.create_infer_request())
    return free


def _infer(free: Requests, pixels: Pixels) -> Probabilities:
    request = free.get()
    try:
        return np.array(request.infer({0: np.ascontiguousarray(pixels)}, share_inputs=True)[0])
    finally:
        free.put(request)


def precisions() -> tuple[str, ...]:
    """Those in which an fp32 graph can be run here: bfloat16 only on a CPU that multiplies it in hardware."""
    fast = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("fp32", "bf16") if "BF16" in fast else ("fp32",)
