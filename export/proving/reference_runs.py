"""Reference runs: the torch network and exported graphs on the same pixels, and the comparison of their answers."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

from bundle import parity
from bundle.graph import INPUT, OUTPUT
from bundle.images import Pixels
from bundle.parity import MAX_DLOGP, MAX_DP, Parity
from bundle.predictions import Probabilities
from export.errors import ExportError
from export.progress import Advance

_BATCH = 8
_SPREAD = 1e-6  # difference of a probability between images; anything below it is rounding


def torch_probabilities(served: nn.Module, pixels: Pixels, advance: Advance) -> Probabilities:
    """The reference: (n, classes) float32 from the torch network itself."""

    def run(batch: Pixels) -> Probabilities:
        with torch.inference_mode():
            return np.asarray(served(torch.from_numpy(batch)))

    return _in_batches(run, pixels, advance)


def onnx_probabilities(model: bytes, pixels: Pixels, advance: Advance, simulated: bool = False) -> Probabilities:
    """(n, classes) float32 from ONNX Runtime on the CPU.

    `simulated` runs each node as written, so that what follows a DequantizeLinear is computed in float32.
    """
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    if simulated:  # an optimised graph gives other results, and in 1.31 wrong ones with float8
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return _in_batches(lambda batch: np.asarray(session.run([OUTPUT], {INPUT: batch})[0]), pixels, advance)


def openvino_supports(precision: str) -> bool:
    """Whether OpenVINO is installed and runs this precision on this CPU."""
    try:
        core = _openvino_core()
    except ImportError:
        return False
    return precision != "bf16" or "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def openvino_probabilities(model: bytes, pixels: Pixels, precision: str) -> Probabilities:
    """(n, classes) float32 from OpenVINO on the CPU, computed in float32 or, for "bf16", in bfloat16."""
    core = _openvino_core()
    config = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
    request = core.compile_model(core.read_model(model), "CPU", config).create_infer_request()
    return _in_batches(lambda batch: np.array(request.infer({0: batch})[0]), pixels, lambda done, total: None)


def _openvino_core() -> Any:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it sends usage data on import
    import openvino

    return openvino.Core()


def require_parity(reference: Probabilities, exported: Probabilities) -> Parity:
    """Compare the answers of an fp32 graph. Raises ExportError when they exceed a tolerance of `bundle.parity`."""
    found = parity.compare(reference, exported)
    if not found.passes():
        raise ExportError(
            f"The graph's answers differ from the torch network's: max |Δp| {found.max_dp:.2g} (allowed {MAX_DP:g}), "
            f"max |Δ log p| {found.max_dlogp:.2g} over the top ten (allowed {MAX_DLOGP:g}). No bundle was written. "
            "Very large weights can cause this; if there are none, please report it with the checkpoint's name."
        )
    return found


def _in_batches(run: Callable[[Pixels], Probabilities], pixels: Pixels, advance: Advance) -> Probabilities:
    rows = []
    for start in range(0, len(pixels), _BATCH):
        rows.append(run(pixels[start : start + _BATCH]))
        advance(min(start + _BATCH, len(pixels)), len(pixels))
    return np.concatenate(rows)


def require_varied_answers(reference: Probabilities) -> None:
    """Raises ExportError when the network answers all images alike: a comparison of graphs would then prove nothing."""
    spread = float(np.abs(reference - reference[0]).max())
    if spread < _SPREAD:
        raise ExportError(
            f"The network gives all {len(reference)} images the same answer (they differ by {spread:.1g} at most), so "
            "a comparison would prove nothing: its weights are not trained, or its preprocessing is wrong. Run "
            "`python -m export diagnose`, or give --photos."
        )
