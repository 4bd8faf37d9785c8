"""ONNX Runtime on the CPU."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

from bundle.files import Bundle
from bundle.graph import INPUT, OUTPUT
from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.engines import on_cpu, se_fusion
from server.engines.candidate import Candidate
from server.engines.machine import Machine
from server.engines.per_core import PerCoreEngine
from server.engines.table import ONNXRUNTIME_CPU

log = logging.getLogger(__name__)

_WEIGHTS_FILE = "weights.bin"


def candidates(bundle: Bundle, machine: Machine) -> Iterator[Candidate]:
    return on_cpu.candidates(ONNXRUNTIME_CPU, OrtCpuEngine, ("fp32",), bundle, machine)


class OrtCpuEngine:
    """A graph in ONNX Runtime's CPU provider, in the graph's own precision, with its SE blocks fused.

    Each core runs one image at a time: batches within a core gained nothing, and blocks are fused for single images.
    Threads that share an image spin between its layers and stop at its end: waking them for each layer would cost a
    third of the speed, and spinning on would take the cores from decoding.
    """

    name = ONNXRUNTIME_CPU.name

    def __init__(self, graph: Path, threads: int, precision: str = "fp32") -> None:
        self.precision = precision
        onnxruntime.disable_telemetry_events()
        alone, together = (partial(_one_by_one, session) for session in _sessions(graph, (1, threads)))
        per_core = PerCoreEngine(threads, alone, together, at_once=1)
        self.start, self.run = per_core.start, per_core.run


def _sessions(graph: Path, threads: Sequence[int]) -> list[InferenceSession]:
    try:
        with tempfile.TemporaryDirectory(prefix="sesame-") as folder:
            optimised = _optimised(graph, Path(folder))
            return [_session(optimised, count, GraphOptimizationLevel.ORT_DISABLE_ALL) for count in threads]
    except Exception as error:  # no room for temporary files, or a version of ONNX Runtime that writes other graphs
        log.warning("%s runs without fused SE blocks: %s", graph.name, error)
        return [_session(graph, count, GraphOptimizationLevel.ORT_ENABLE_ALL) for count in threads]


def _optimised(graph: Path, folder: Path) -> Path:
    """The graph as ONNX Runtime rewrites it for this CPU, with fused SE blocks. Sessions map its file of weights."""
    path = folder / "optimised.onnx"
    options = _options(threads=1)
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", _WEIGHTS_FILE)
    InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    model = onnx.load(path, load_external_data=False)
    se_fusion.fuse(model)
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
    return np.concatenate([session.run([OUTPUT], {INPUT: image[np.newaxis]})[0] for image in pixels])
