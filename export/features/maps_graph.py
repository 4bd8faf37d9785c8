"""Maps graph: a backbone as an ONNX graph whose batch, height and width are open."""

import copy
import math
from collections.abc import Mapping

import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from export.errors import ExportError
from export.features.backbone import Backbone
from export.graphs.graph import name_nodes, traced
from export.graphs.surgery import drop_unused_initializers, replace_nodes, serialize

INPUT = "images"
"""Name of the input: (batch, 3, height, width) float32 RGB, normalised."""

_DYNAMIC = {0: "batch", 2: "height", 3: "width"}
_EXAMPLE = (2, 3, 256, 384)  # the deepest map is then larger than one pixel, which torch would take for fixed
_PADDED = "padded_layer"


class _Padded(nn.Module):
    """A layer with padding before it, which `_fold_padding` puts into the layer's ONNX node."""

    def __init__(self, before: int, after: int, value: float, layer: nn.Module) -> None:
        super().__init__()
        self.padding = nn.ConstantPad2d((before, after, before, after), value)
        self.add_module(_PADDED, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.get_submodule(_PADDED)(self.padding(x))


def to_onnx(backbone: Backbone, name: str, metadata: Mapping[str, str]) -> bytes:
    """The backbone as a checked ONNX model with these metadata; equal networks give equal bytes.

    Nodes are named as in the graph of the classifier. Raises ExportError where torch cannot leave the size open.
    """
    network = copy.deepcopy(backbone)
    _pad_by_arithmetic(network.network, name)
    try:
        model = traced(network, torch.zeros(_EXAMPLE), _DYNAMIC, INPUT, backbone.outputs)
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(
            f"torch cannot export a {name} whose height and width are open ({_last_line(error)}): choose another "
            "network, e.g. an SE-ResNet."
        ) from error
    name_nodes(model, network.network)
    _fold_padding(model.graph)
    drop_unused_initializers(model.graph)
    _name_dimensions(model.graph)
    helper.set_model_props(model, dict(metadata))
    return serialize(model)


def _pad_by_arithmetic(network: nn.Module, name: str) -> None:
    """Replace layers whose sizes torch cannot follow with an open height and width by equal ones.

    These are poolings that round up, and timm's convolutions that pad as TensorFlow does. `_fold_padding` writes them
    as what they were, for every size; until then the convolutions are equal only where their stride divides the size.
    """
    for path, module in list(network.named_modules()):
        if isinstance(module, nn.MaxPool2d) and module.ceil_mode:
            if (module.kernel_size, module.stride, module.padding, module.dilation) == (3, 2, 0, 1):
                network.set_submodule(path, _Padded(0, 1, -math.inf, nn.MaxPool2d(3, 2)))
        elif type(module).__name__ == "Conv2dSame" and isinstance(module, nn.Conv2d) and _is_square(module):
            network.set_submodule(path, _same(module))
        elif type(module).__name__.endswith("Same"):  # torch would try for minutes
            raise ExportError(
                f"A {name} has layers ({type(module).__name__}) whose padding cannot be exported with an open height "
                "and width: choose another network, e.g. an SE-ResNet."
            )


def _is_square(layer: nn.Conv2d) -> bool:
    return all(len(set(sides)) == 1 for sides in (layer.kernel_size, layer.stride, layer.dilation))


def _same(layer: nn.Conv2d) -> nn.Module:
    """The convolution with the padding that it has where its stride divides the size."""
    (kernel, *_), (stride, *_), (dilation, *_) = layer.kernel_size, layer.stride, layer.dilation
    bias = layer.bias is not None
    twin = nn.Conv2d(layer.in_channels, layer.out_channels, kernel, stride, 0, dilation, layer.groups, bias)
    twin.weight, twin.bias = layer.weight, layer.bias
    missing = max(dilation * (kernel - 1) + 1 - stride, 0)
    return _Padded(missing // 2, missing - missing // 2, 0.0, twin)


def _fold_padding(graph: onnx.GraphProto) -> None:
    """Let the layers that `_pad_by_arithmetic` replaced pad by an attribute of their own.

    torch's exporter has folded a Pad into its Conv already, but not into its MaxPool.
    """
    pads = {node.output[0]: node for node in graph.node if node.op_type == "Pad"}
    folded = []
    for node in graph.node:
        of_conv = node.op_type == "Conv" and f".{_PADDED}." in node.input[1]
        if not of_conv and f".{_PADDED}/" not in node.name:
            continue
        if node.input[0] in pads:
            folded.append(pads[node.input[0]].output[0])
            node.input[0] = pads[node.input[0]].input[0]
        kept = [attribute for attribute in node.attribute if attribute.name not in ("pads", "auto_pad")]
        del node.attribute[:]
        own = (
            helper.make_attribute("auto_pad", "SAME_UPPER") if of_conv else helper.make_attribute("pads", [0, 0, 1, 1])
        )
        node.attribute.extend([*kept, own])
        node.name = node.name.replace(f".{_PADDED}/", "/")
    replace_nodes(graph, [node for node in graph.node if node.output[0] not in folded])


def _name_dimensions(graph: onnx.GraphProto) -> None:
    """Give each map rows and columns of its own name. torch's formulas do not say how the edges are rounded."""
    del graph.value_info[:]
    for output in graph.output:
        _, _, rows, columns = output.type.tensor_type.shape.dim
        rows.dim_param, columns.dim_param = f"{output.name}_rows", f"{output.name}_columns"


def _last_line(error: BaseException) -> str:
    return str(error.__cause__ or error).strip().splitlines()[-1]
