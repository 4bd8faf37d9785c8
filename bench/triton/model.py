"""A bundle's graph as a model of Triton's Python backend, run by ONNX Runtime. Triton loads this file by itself.

What it needs comes in environment variables: the Python that Triton starts reads no others.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

sys.path.insert(0, os.environ["BENCH_PACKAGES"])

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    """Triton's name for it."""

    def initialize(self, _: Any) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["BENCH_THREADS"])
        graph = os.environ["BENCH_GRAPH"]
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """The requests of one batch of Triton's, as one batch of ONNX Runtime's."""
        parts = [triton.get_input_tensor_by_name(request, "pixels").as_numpy() for request in requests]
        pixels = parts[0] if len(parts) == 1 else np.concatenate(parts)
        (rows,) = self._session.run(["probabilities"], {"pixels": pixels})
        ends = np.cumsum([len(part) for part in parts])[:-1]
        return [triton.InferenceResponse([triton.Tensor("probabilities", each)]) for each in np.split(rows, ends)]
