"""ONNX Runtime on the CPU."""

from pathlib import Path

import numpy as np
import onnxruntime

from bundle.images import Pixels
from bundle.predictions import Probabilities


class OrtCpuEngine:
    """A graph in ONNX Runtime's CPU provider, computed in the precision that it has.

    Its threads do not spin while they wait: they share the cores with decoding, and spinning would take them from it.
    """

    name = "onnxruntime-cpu"

    def __init__(self, graph: Path, threads: int, precision: str = "fp32") -> None:
        self.precision = precision
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])

    def run(self, pixels: Pixels) -> Probabilities:
        return np.asarray(self._session.run(["probabilities"], {"pixels": pixels})[0])
