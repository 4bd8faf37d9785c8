"""ONNX Runtime on the CPU."""

import logging
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.engines import fused
from server.engines.divided import Divided

log = logging.getLogger(__name__)

_WEIGHTS_FILE = "weights.bin"


class OrtCpuEngine:
    """A graph in ONNX Runtime's CPU provider, computed in the precision that it has, its SE blocks fused.

    Images go through one at a time, a core each: batches within a core gained nothing, and blocks are fused for single
    images. Threads that share an image spin between its layers, and stop with its end: to be woken for each layer would
    cost a third, and to spin on would take the cores from decoding.
    """

    name = "onnxruntime-cpu"

    def __init__(self, graph: Path, threads: int, precision: str = "fp32") -> None:
        self.precision = precision
        onnxruntime.disable_telemetry_events()
        alone, together = (partial(_one_by_one, session) for session in _sessions(graph, (1, threads)))
        divided = Divided(threads, alone, together, at_once=1)
        self.start, self.run = divided.start, divided.run


def _sessions(graph: Path, threads: Sequence[int]) -> list[InferenceSession]:
    try:
        with tempfile.TemporaryDirectory(prefix="sesame-") as folder:
            optimised = _optimised(graph, Path(folder))
            return [_session(optimised, count, GraphOptimizationLevel.ORT_DISABLE_ALL) for count in threads]
    except Exception as error:  # no temporary folder with room, or a graph that no longer looks as it did
        log.warning("%s is run without fused SE blocks: %s", graph.name, error)
        return [_session(graph, count, GraphOptimizationLevel.ORT_ENABLE_ALL) for count in threads]


def _optimised(graph: Path, folder: Path) -> Path:
    """The graph as ONNX Runtime rewrites it for this CPU, and fused; its weights in a file that sessions map."""
    path = folder / "optimised.onnx"
    options = _options(threads=1)
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", _WEIGHTS_FILE)
    InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    model = onnx.load(path, load_external_data=False)
    fused.fuse(model)
    onnx.save(model, path)
    return path


def _session(graph: Path, threads: int, optimisation: GraphOptimizationLevel) -> InferenceSession:
    options = _options(threads)
    options.graph_optimization_level = optimisation
    return InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def _options(threads: int) -> SessionOptions:
    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _one_by_one(session: InferenceSession, pixels: Pixels) -> Probabilities:
    return np.concatenate([session.run(["probabilities"], {"pixels": image[np.newaxis]})[0] for image in pixels])
