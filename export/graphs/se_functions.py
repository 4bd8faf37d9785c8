"""SE functions: replaces each SE block of a graph by two ONNX functions of the domain `sesame`, one for each kernel.

Such a graph is used only to build TensorRT plans. TensorRT's parser inlines a function unless a plugin of the same name
is registered; then it uses the plugin, since 10.15 only if the node names the plugin's namespace. ONNX Runtime inlines
functions too, and tests use it to show that the graph is equal. Other runtimes cannot read functions, so bundles hold
plain graphs.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, helper, numpy_helper, shape_inference

from export.graphs.surgery import (
    drop_unused_initializers,
    initializers,
    integer_attribute,
    opset,
    producers,
    replace_nodes,
    serialize,
)

DOMAIN = "sesame"
PLUGIN = {"plugin_namespace": DOMAIN, "plugin_version": "1"}
"""Attributes of each function node, by which TensorRT's parser finds the plugin."""

_GATE = ("ReduceMean", "Conv", "Relu", "Conv", "Sigmoid")


@dataclass(frozen=True)
class Outlined:
    """The graph, and the names of the SE blocks that became functions (`blocks`) and of those that did not."""

    model: bytes
    blocks: tuple[str, ...]
    skipped: tuple[str, ...]


def outline(model: bytes, blocks: Sequence[str], pooled_above: int | None = None) -> Outlined:
    """Replace the nodes of SE blocks, given by names such as `layer1.0`, in a plain graph of any precision.

    `SEGate(x, w1, b1, w2, b2)` is σ(w2·relu(w1·mean(x) + b1) + b2), and `SEScaleAddRelu(x, gate, residual)` is
    relu(gate·x + residual); where no sum and ReLU follow, it is `SEScale(x, gate)`. Missing biases become zeros, as
    functions have no optional inputs. A block of another kind, for example with a hard sigmoid, is skipped.

    Maps of more pixels than `pooled_above`, or of unknown size, are pooled by a node of the graph before `SEGate`,
    whose mean is then over one value. The kernel of the whole function would pool large maps slowly.
    """
    outlined = onnx.load_from_string(model)
    rewrite = _Rewrite(outlined.graph, map_sizes(outlined) if pooled_above is not None else {}, pooled_above)
    done = [block for block in blocks if rewrite.outline(block)]
    if done:
        rewrite.apply()
        version = opset(outlined)
        outlined.opset_import.append(helper.make_opsetid(DOMAIN, 1))
        outlined.functions.extend(_functions(version, {node.op_type for node in outlined.graph.node}))
    skipped = tuple(block for block in blocks if block not in done)
    return Outlined(serialize(outlined), tuple(done), skipped)


class _Rewrite:
    """A graph, and the replacements for its nodes."""

    def __init__(self, graph: GraphProto, sizes: Mapping[str, tuple[int, int]], pooled_above: int | None) -> None:
        self._graph = graph
        self._sizes = sizes
        self._pooled_above = pooled_above
        self._producer = producers(graph)
        self._user = {name: node for node in graph.node for name in node.input}
        self._uses = Counter(name for node in graph.node for name in node.input)
        self._uses.update(output.name for output in graph.output)
        self._weights = initializers(graph)
        self._instead: dict[str, NodeProto | None] = {}  # output of a node -> its replacement, None to remove it

    def outline(self, block: str) -> bool:
        """Plan the replacement of a block's nodes; False where they do not match the pattern."""
        scale = next((node for node in self._graph.node if node.name == f"{block}/se/Mul"), None)
        if scale is None:
            return False
        for x, gate in (scale.input, scale.input[::-1]):
            if (chain := self._gate(x, gate)) is not None:
                self._replace_gate(f"{block}/se/SEGate", x, chain)
                self._replace_scale(f"{block}/se", x, gate, scale)
                return True
        return False

    def apply(self) -> None:
        nodes = [self._instead.get(node.output[0], node) for node in self._graph.node]
        replace_nodes(self._graph, (node for node in nodes if node is not None))
        del self._graph.value_info[:]
        drop_unused_initializers(self._graph)

    def _gate(self, x: str, gate: str) -> list[NodeProto] | None:
        """The nodes that compute a gate of x, first to last; None unless they match and no other node reads them."""
        chain: list[NodeProto] = []
        for kind in reversed(_GATE):
            node = self._producer.get(chain[0].input[0] if chain else gate)
            if node is None or node.op_type != kind or self._uses[node.output[0]] != 1:
                return None
            chain.insert(0, node)
        mean, first, _, second, _ = chain
        axes = self._weights.get(mean.input[1]) if len(mean.input) > 1 else None
        spatial = axes is not None and sorted(numpy_helper.to_array(axes) % 4) == [2, 3]
        kept = integer_attribute(mean, "keepdims", 1)
        linear = self._is_linear(first) and self._is_linear(second)
        return chain if mean.input[0] == x and spatial and kept and linear else None

    def _is_linear(self, convolution: NodeProto) -> bool:
        """Whether it is 1x1 without strides, groups and padding: functions have no attributes."""
        weight = self._weights.get(convolution.input[1])
        given = {item.name: item.ints or [item.i] for item in convolution.attribute}
        plain = set(given.get("strides", [1])) | set(given.get("group", [1])) == {1} and not any(given.get("pads", []))
        return weight is not None and list(weight.dims[2:]) == [1, 1] and plain

    def _replace_gate(self, name: str, x: str, chain: Sequence[NodeProto]) -> None:
        mean, first, _, second, _ = chain
        pooled = self._pooled_above is not None and _pixels(self._sizes.get(x)) > self._pooled_above
        inputs = [mean.output[0] if pooled else x]
        for convolution in (first, second):
            inputs += [convolution.input[1], self._bias(convolution)]
        for node in chain[1:] if pooled else chain:
            self._instead[node.output[0]] = None
        self._instead[chain[-1].output[0]] = _function_node("SEGate", name, inputs, chain[-1].output[0])

    def _replace_scale(self, name: str, x: str, gate: str, scale: NodeProto) -> None:
        add = self._only_user(scale, "Add")
        relu = self._only_user(add, "Relu") if add else None
        if add is None or relu is None:
            self._instead[scale.output[0]] = _function_node("SEScale", f"{name}/SEScale", [x, gate], scale.output[0])
            return
        residual = add.input[1] if add.input[0] == scale.output[0] else add.input[0]
        for node in (scale, add):
            self._instead[node.output[0]] = None
        kind = "SEScaleAddRelu"
        self._instead[relu.output[0]] = _function_node(kind, f"{name}/{kind}", [x, gate, residual], relu.output[0])

    def _bias(self, convolution: NodeProto) -> str:
        if len(convolution.input) > 2:
            return str(convolution.input[2])
        weight = numpy_helper.to_array(self._weights[convolution.input[1]])
        name = f"{convolution.input[1]}.no_bias"
        if name not in self._weights:
            self._weights[name] = numpy_helper.from_array(np.zeros(len(weight), weight.dtype), name)
            self._graph.initializer.append(self._weights[name])
        return name

    def _only_user(self, node: NodeProto, kind: str) -> NodeProto | None:
        user = self._user.get(node.output[0])
        return user if user and user.op_type == kind and self._uses[node.output[0]] == 1 else None


def map_sizes(model: ModelProto) -> dict[str, tuple[int, int]]:
    """Height and width of each tensor (N, C, H, W) whose size is known before a run, by name."""
    sizes: dict[str, tuple[int, int]] = {}
    for row in shape_inference.infer_shapes(model).graph.value_info:
        shape = row.type.tensor_type.shape.dim
        if len(shape) == 4 and shape[2].dim_value and shape[3].dim_value:
            sizes[row.name] = shape[2].dim_value, shape[3].dim_value
    return sizes


def _pixels(size: tuple[int, int] | None) -> float:
    """The pixels of a map; infinite where its size is unknown."""
    return size[0] * size[1] if size else math.inf


def _function_node(kind: str, name: str, inputs: Sequence[str], output: str) -> NodeProto:
    return helper.make_node(kind, inputs, [output], name, domain=DOMAIN, **PLUGIN)


def _functions(opset: int, wanted: set[str]) -> list[FunctionProto]:
    """The definitions of the functions in use. Bodies have no constants: their types follow from the inputs."""
    bodies = {
        "SEGate": (
            ("x", "w1", "b1", "w2", "b2"),
            [
                ("GlobalAveragePool", ["x"], "mean"),
                ("Conv", ["mean", "w1", "b1"], "squeezed"),
                ("Relu", ["squeezed"], "rectified"),
                ("Conv", ["rectified", "w2", "b2"], "excited"),
                ("Sigmoid", ["excited"], "y"),
            ],
        ),
        "SEScale": (("x", "gate"), [("Mul", ["x", "gate"], "y")]),
        "SEScaleAddRelu": (
            ("x", "gate", "residual"),
            [("Mul", ["x", "gate"], "scaled"), ("Add", ["scaled", "residual"], "sum"), ("Relu", ["sum"], "y")],
        ),
    }
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    return [
        helper.make_function(
            DOMAIN, name, inputs, ["y"], [helper.make_node(kind, read, [output]) for kind, read, output in body],
            opsets, attributes=list(PLUGIN),
        )
        for name, (inputs, body) in bodies.items()
        if name in wanted
    ]  # fmt: skip
