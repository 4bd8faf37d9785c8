"""OpenVINO on the CPU."""

import queue
from functools import partial
from pathlib import Path

import numpy as np
import openvino
from openvino import properties
from openvino.properties import hint

from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.engines.divided import Divided


class OpenVinoCpuEngine:
    """A graph in OpenVINO's CPU plugin, with float work in float32 or, where `precision` says so, bfloat16."""

    name = "openvino-cpu"

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
        divided = Divided(threads, alone, together)
        self.start, self.run = divided.start, divided.run


Requests = queue.SimpleQueue[openvino.InferRequest]


def _requests(compiled: openvino.CompiledModel) -> Requests:
    """One for each of the model's streams, which run side by side."""
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
    """In which an fp32 graph can be run here: bfloat16 only where the CPU itself multiplies it."""
    fast = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("fp32", "bf16") if "BF16" in fast else ("fp32",)
