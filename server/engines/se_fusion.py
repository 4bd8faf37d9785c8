"""SE fusion: an SE block's scale, sum and ReLU in one pass over the channels, in ONNX Runtime's blocked layout.

On CPUs ONNX Runtime keeps activations in blocks of channels (NCHWc, domain `com.microsoft.nchwc`). Its optimiser does
so around convolutions, pooling and sums of equal shapes, but not where a gate of one value per channel is multiplied:
before each such Mul it reorders to the plain layout, runs mean, Mul, Add and Relu in a pass each, and reorders again.
But scaling by a gate is a depthwise 1x1 convolution whose weights the network computes, and the blocked convolution
can add a tensor and apply a ReLU in the same pass. What that gains: ARCHITECTURE.md.
"""

from collections import Counter
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

BLOCKED = "com.microsoft.nchwc"
_CHANNELS = 16  # in a block on the widest CPUs; others have 8 or 4
_PER_CHANNEL = "sesame.per_channel"  # the shape that makes depthwise weights of a gate


def fuse(model: onnx.ModelProto) -> int:
    """Rewrite a graph in place for batches of one image, and return how many SE blocks were fused.

    The graph is one that ONNX Runtime wrote after its own optimisation. Where that uses no blocked layout, nothing is
    changed.
    """
    walk = _Walk(model.graph)
    fused = sum(walk.take(node) for node in model.graph.node)
    if fused:
        nodes = walk.needed()
        del model.graph.node[:], model.graph.value_info[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.append(numpy_helper.from_array(np.array([-1, 1, 1, 1]), _PER_CHANNEL))
    return fused


class _Walk:
    """One pass over a graph's nodes, in the order in which they run."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._outputs = [output.name for output in graph.output]
        self._shapes = {
            value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in graph.value_info
        }
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._uses = Counter(name for node in graph.node for name in node.input) + Counter(self._outputs)
        self._user = {name: node for node in graph.node for name in node.input}
        self._blocked: dict[str, str] = {}  # plain tensors that exist in blocks too: the names of those
        self._instead: dict[str, str] = {}  # tensors that were reordered into blocks: those that they replace
        self._replaced: set[str] = set()  # outputs of nodes whose work an earlier fused node does
        self._nodes: list[NodeProto] = []

    def take(self, node: NodeProto) -> bool:
        """Copy a node, or fuse it with those that follow it. Returns whether it was an SE block's scale, and fused."""
        if node.output[0] in self._replaced:
            return False
        if node.op_type == "Mul" and (operands := self._gated(node)):
            self._scale(node.output[0], *operands)
            return True
        if node.op_type == "ReduceMean" and self._squeezes(node):
            channels = self._shapes[node.output[0]][1]
            self._append("GlobalAveragePool", [self._blocked[node.input[0]]], node.output[0], channels)
        elif node.op_type == "ReorderInput" and node.input[0] in self._blocked:
            self._instead[node.output[0]] = self._blocked[node.input[0]]
        else:
            if node.op_type == "ReorderOutput":
                self._blocked[node.output[0]] = node.input[0]
            self._nodes.append(node)
        return False

    def needed(self) -> list[NodeProto]:
        """The new nodes, without those whose outputs are not used any more."""
        wanted, kept = set(self._outputs), []
        for node in reversed(self._nodes):
            if wanted.isdisjoint(node.output):
                continue
            node.input[:] = [self._instead.get(name, name) for name in node.input]
            wanted.update(node.input)
            kept.append(node)
        return kept[::-1]

    def _scale(self, output: str, x: str, gate: str) -> None:
        """Append gate · x, with the sum and the ReLU where they follow."""
        inputs = [self._blocked[x], f"{output}.weights"]
        self._nodes.append(helper.make_node("Reshape", [gate, _PER_CHANNEL], [inputs[1]], inputs[1]))
        attributes: dict[str, Any] = {"auto_pad": "NOTSET", "pads": [0, 0, 0, 0]}
        if (add := self._only_user(output, "Add")) and (residual := self._residual(add, output)):
            output, inputs = self._replace(add), [*inputs, "", residual]  # no bias
        if relu := self._only_user(output, "Relu"):
            output, attributes["activation"] = self._replace(relu), "Relu"
        for each in ("kernel_shape", "strides", "dilations"):
            attributes[each] = [1, 1]
        channels = self._shapes[x][1]
        self._append("Conv", inputs, output, channels, group=channels, **attributes)

    def _append(self, kind: str, inputs: list[str], output: str, channels: int, **attributes: Any) -> None:
        """Append a node in the blocked layout, and a node that gives its output in the plain layout too."""
        blocked = self._blocked[output] = f"{output}.blocked"
        self._nodes += [
            helper.make_node(kind, inputs, [blocked], f"{output}/{kind}", domain=BLOCKED, **attributes),
            helper.make_node("ReorderOutput", [blocked], [output], blocked, domain=BLOCKED, channels=channels),
        ]

    def _gated(self, mul: NodeProto) -> tuple[str, str] | None:
        """The operands of a scale, (tensor, gate): a tensor that exists in blocks, and a value for each channel."""
        for x, gate in (mul.input, reversed(mul.input)):
            channels = self._shapes.get(x, [])[1:2]
            one_each = channels and self._shapes.get(gate, [])[1:] == [*channels, 1, 1]
            if one_each and x in self._blocked and channels[0] % _CHANNELS == 0:
                return x, gate
        return None

    def _residual(self, add: NodeProto, output: str) -> str | None:
        """What is added to an output, if it exists in blocks and has the same shape."""
        other = add.input[1] if add.input[0] == output else add.input[0]
        return self._blocked.get(other) if self._shapes.get(other, []) == self._shapes.get(output) else None

    def _squeezes(self, mean: NodeProto) -> bool:
        """Whether it leaves one value for each channel of a tensor that exists in blocks."""
        axes = self._constants.get(mean.input[1]) if len(mean.input) > 1 else None
        return (
            mean.input[0] in self._blocked
            and axes is not None
            and sorted(numpy_helper.to_array(axes) % 4) == [2, 3]
            and self._shapes.get(mean.output[0], [])[2:] == [1, 1]
        )

    def _only_user(self, output: str, kind: str) -> NodeProto | None:
        user = self._user.get(output)
        return user if user and user.op_type == kind and self._uses[output] == 1 else None

    def _replace(self, node: NodeProto) -> str:
        self._replaced.add(node.output[0])
        return node.output[0]
