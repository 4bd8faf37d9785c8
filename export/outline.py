"""Outline: each SE block of a graph as two functions of the domain `sesame`, which TensorRT can give to a kernel each.

A graph so outlined is for building plans only. Where no plugin of a function's name is registered TensorRT's parser
inlines the function; where one is, the parser takes it, since 10.15 only if the node names the plugin's namespace. ONNX
Runtime inlines functions too, which is how the graph is proven equal. Other runtimes cannot read them, so bundles hold
plain graphs.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, helper, numpy_helper, shape_inference

DOMAIN = "sesame"
PLUGIN = {"plugin_namespace": DOMAIN, "plugin_version": "1"}
"""Attributes of each node, by which TensorRT's parser finds a plugin."""

_GATE = ("ReduceMean", "Conv", "Relu", "Conv", "Sigmoid")


@dataclass(frozen=True)
class Outlined:
    """The graph, and the SE blocks that became functions and those that did not, by name."""

    model: bytes
    blocks: tuple[str, ...]
    left: tuple[str, ...]


def outline(model: bytes, blocks: Sequence[str], pooled_above: int | None = None) -> Outlined:
    """Replace the nodes of SE blocks, `layer1.0`, in a plain graph of any precision.

    `SEGate(x, w1, b1, w2, b2)` is σ(w2·relu(w1·mean(x) + b1) + b2), and `SEScaleAddRelu(x, gate, residual)` is
    relu(gate·x + residual); where no sum and ReLU follow, `SEScale(x, gate)`. Absent biases become zeros, as functions
    have no optional inputs. A block that is something else, with a hard sigmoid say, is left as it is.

    Maps of more pixels than `pooled_above`, or of unknown size, are pooled by a node of the graph, before `SEGate`:
    the function's mean is then of one value, itself. A kernel for the whole function would pool them slowly.
    """
    outlined = onnx.load_from_string(model)
    graph = _Graph(outlined.graph, map_sizes(outlined) if pooled_above is not None else {}, pooled_above)
    done = [block for block in blocks if graph.outline(block)]
    if done:
        graph.rewrite()
        opset = next(row.version for row in outlined.opset_import if not row.domain)
        outlined.opset_import.append(helper.make_opsetid(DOMAIN, 1))
        outlined.functions.extend(_functions(opset, {node.op_type for node in outlined.graph.node}))
        onnx.checker.check_model(outlined, full_check=True)
    left = tuple(block for block in blocks if block not in done)
    return Outlined(outlined.SerializeToString(deterministic=True), tuple(done), left)


class _Graph:
    """A graph, and what is to be put in place of which of its nodes."""

    def __init__(self, graph: GraphProto, sizes: Mapping[str, tuple[int, int]], pooled_above: int | None) -> None:
        self._graph = graph
        self._sizes = sizes
        self._pooled_above = pooled_above
        self._maker = {name: node for node in graph.node for name in node.output}
        self._user = {name: node for node in graph.node for name in node.input}
        self._uses = Counter(name for node in graph.node for name in node.input)
        self._uses.update(output.name for output in graph.output)
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._instead: dict[str, NodeProto | None] = {}  # by a node's output: what replaces it

    def outline(self, block: str) -> bool:
        """Whether the nodes of that block are the pattern, and will be replaced."""
        scale = next((node for node in self._graph.node if node.name == f"{block}/se/Mul"), None)
        if scale is None:
            return False
        for x, gate in (scale.input, scale.input[::-1]):
            if (chain := self._gate(x, gate)) is not None:
                self._replace_gate(f"{block}/se/SEGate", x, chain)
                self._replace_scale(f"{block}/se", x, gate, scale)
                return True
        return False

    def rewrite(self) -> None:
        nodes = [self._instead.get(node.output[0], node) for node in self._graph.node]
        del self._graph.node[:], self._graph.value_info[:]
        self._graph.node.extend(node for node in nodes if node is not None)
        read = {name for node in self._graph.node for name in node.input}
        kept = [tensor for name, tensor in self._weights.items() if name in read]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)

    def _gate(self, x: str, gate: str) -> list[NodeProto] | None:
        """The nodes that make a gate of x, first to last, if they are the pattern and nobody else reads between."""
        chain: list[NodeProto] = []
        for kind in reversed(_GATE):
            node = self._maker.get(chain[0].input[0] if chain else gate)
            if node is None or node.op_type != kind or self._uses[node.output[0]] != 1:
                return None
            chain.insert(0, node)
        mean, first, _, second, _ = chain
        axes = self._weights.get(mean.input[1]) if len(mean.input) > 1 else None
        spatial = axes is not None and sorted(numpy_helper.to_array(axes) % 4) == [2, 3]
        kept = next((item.i for item in mean.attribute if item.name == "keepdims"), 1)
        linear = self._is_linear(first) and self._is_linear(second)
        return chain if mean.input[0] == x and spatial and kept and linear else None

    def _is_linear(self, convolution: NodeProto) -> bool:
        """Whether it is 1x1 and nothing else: functions have no attributes."""
        weight = self._weights.get(convolution.input[1])
        told = {item.name: item.ints or [item.i] for item in convolution.attribute}
        plain = set(told.get("strides", [1])) | set(told.get("group", [1])) == {1} and not any(told.get("pads", []))
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
        zeros = numpy_helper.from_array(np.zeros(len(weight), weight.dtype), f"{convolution.input[1]}.no_bias")
        self._weights[zeros.name] = zeros
        return str(zeros.name)

    def _only_user(self, node: NodeProto, kind: str) -> NodeProto | None:
        user = self._user.get(node.output[0])
        return user if user and user.op_type == kind and self._uses[node.output[0]] == 1 else None


def map_sizes(model: ModelProto) -> dict[str, tuple[int, int]]:
    """Height and width of each (N, C, H, W) whose size is known before a run."""
    sizes: dict[str, tuple[int, int]] = {}
    for row in shape_inference.infer_shapes(model).graph.value_info:
        shape = row.type.tensor_type.shape.dim
        if len(shape) == 4 and shape[2].dim_value and shape[3].dim_value:
            sizes[row.name] = shape[2].dim_value, shape[3].dim_value
    return sizes


def _pixels(size: tuple[int, int] | None) -> float:
    """Of a map; one of unknown size counts as infinite."""
    return size[0] * size[1] if size else math.inf


def _function_node(kind: str, name: str, inputs: Sequence[str], output: str) -> NodeProto:
    return helper.make_node(kind, inputs, [output], name, domain=DOMAIN, **PLUGIN)


def _functions(opset: int, wanted: set[str]) -> list[FunctionProto]:
    """Those that are used. Their bodies have no constants, so types come from the inputs alone."""
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
            DOMAIN, name, inputs, ["y"], [helper.make_node(kind, read, [made]) for kind, read, made in body], opsets,
            attributes=list(PLUGIN),
        )
        for name, (inputs, body) in bodies.items()
        if name in wanted
    ]  # fmt: skip
