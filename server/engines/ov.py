"""OpenVINO on the CPU."""

from pathlib import Path

import numpy as np
import openvino
from openvino.properties import hint

from bundle.images import Pixels
from bundle.predictions import Probabilities


class OpenVinoCpuEngine:
    """A graph in OpenVINO's CPU plugin, with float work in float32 or, where `precision` says so, bfloat16."""

    name = "openvino-cpu"

    def __init__(self, graph: Path, threads: int, precision: str) -> None:
        self.precision = precision
        core = openvino.Core()
        config = {
            hint.performance_mode: hint.PerformanceMode.LATENCY,  # one batch at a time, all threads on it
            hint.inference_precision: openvino.Type.bf16 if precision == "bf16" else openvino.Type.f32,
            openvino.properties.inference_num_threads: threads,
        }
        self._request = core.compile_model(core.read_model(graph), "CPU", config).create_infer_request()

    def run(self, pixels: Pixels) -> Probabilities:
        result = self._request.infer({0: np.ascontiguousarray(pixels)}, share_inputs=True)
        return np.array(result[0])


def precisions() -> tuple[str, ...]:
    """In which an fp32 graph can be run here: bfloat16 only where the CPU itself multiplies it."""
    fast = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("fp32", "bf16") if "BF16" in fast else ("fp32",)
