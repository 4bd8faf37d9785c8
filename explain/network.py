"""ExplainedNetwork: a bundle's fp32 graph in ONNX Runtime on the CPU, with inner tensors among its outputs."""

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from bundle.errors import BundleError
from bundle.files import Bundle
from bundle.graph import INPUT, OUTPUT
from bundle.images import Pixels
from bundle.manifest import Head, SEBlockRow
from bundle.predictions import Probabilities

Gates = NDArray[np.float32]  # (n, channels)


@dataclass(frozen=True)
class Inside:
    """What the network computed for n images: `features` (n, channels, height, width), and the gates of each block.

    `features` is None where the network has no linear head.
    """

    probabilities: Probabilities
    features: NDArray[np.float32] | None
    gates: list[Gates]


class ExplainedNetwork:
    """Runs on the calling thread and `threads - 1` others. Its answers are those of the graph, whatever engine serves.

    `blocks` are the SE blocks whose gates it shows.
    """

    def __init__(self, bundle: Bundle, threads: int) -> None:
        """Raises BundleError where the manifest names no inner tensors, or such as the graph does not have."""
        self.bundle = bundle
        self.blocks = tuple(block for block in bundle.manifest.architecture.se_blocks if block.gate)
        self._head = bundle.manifest.head
        if not self.blocks and not self._head:
            raise BundleError(
                f"The bundle '{bundle.manifest.name}' names no inner tensors, so its network cannot be explained: "
                "export it again with this version of Sesame."
            )
        model = onnx.load(bundle.graph("fp32")[1])
        self.weight, self.bias = _linear_layer(model, self._head)
        names = [*_gate_names(self.blocks), *([self._head.features] if self._head else [])]
        self._outputs = [OUTPUT, *names]
        self._session = _session(_with_outputs(model, names), threads)

    def run(self, pixels: Pixels) -> Inside:
        probabilities, *inner = self._session.run(self._outputs, {INPUT: pixels})
        gates = [np.asarray(gate).reshape(len(pixels), -1) for gate in inner[: len(self.blocks)]]
        return Inside(probabilities, inner[-1] if self._head else None, gates)


def _gate_names(blocks: tuple[SEBlockRow, ...]) -> list[str]:
    return [block.gate for block in blocks if block.gate]


def _linear_layer(
    model: ModelProto, head: Head | None
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Its weight (classes, channels) and bias (classes); None and None without such a head."""
    if head is None:
        return None, None
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    if head.weight not in constants or head.bias not in (None, *constants):
        raise _strange_names()
    weight = constants[head.weight]
    return weight, constants[head.bias] if head.bias else np.zeros(len(weight), np.float32)


def _with_outputs(model: ModelProto, names: list[str]) -> bytes:
    made = {name for node in model.graph.node for name in node.output}
    if not made.issuperset(names):
        raise _strange_names()
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    return bytes(model.SerializeToString())


def _strange_names() -> BundleError:
    return BundleError("The manifest names inner tensors that the graph does not have: export the bundle again.")


def _session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
