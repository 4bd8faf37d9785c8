"""Graph: exports a torch network to plain ONNX, from uint8 photos to probabilities."""

import logging
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence

import onnx
import torch
from torch import Tensor, nn

from bundle.graph import INPUT, OUTPUT
from export.graphs.surgery import serialize
from models.networks.se import block_name, se_modules

OPSET = 20
_SCOPES = "pkg.torch.onnx.name_scopes"


class ServedNetwork(nn.Module):
    """A network with normalisation before it and softmax after it.

    Takes (n, h, w, 3) uint8 RGB and gives (n, classes) float32 probabilities. `mean` and `std` are in RGB order on the
    scale 0..255, even for a network that takes blue, green, red (`bgr`).

    The mean is not folded into the first convolution: that convolution pads with zeros, which a folded mean would turn
    into other values. Pixels are cast before they are transposed: TensorRT accepts a uint8 input only as the input of a
    cast (NVIDIA/TensorRT #3985). The transposed tensor is made contiguous: after one in channels-last order torch
    exports each adaptive average pool as a Gather of indices computed from the batch size (`as_strided`).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], bgr: bool = False) -> None:
        super().__init__()
        self.network = network
        self.bgr = bgr
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.float().permute(0, 3, 1, 2).contiguous()
        x = (x - self.mean) / self.std
        return self.network(x.flip(1) if self.bgr else x).float().softmax(1)


def to_onnx(served: ServedNetwork, height: int, width: int) -> bytes:
    """The network as a checked ONNX model; equal networks give equal bytes.

    torch's exporter folds each BatchNorm into its convolution. Nodes are named after their modules, those of an SE
    block `<block>/se/…`. Raises onnx.checker.ValidationError if the exporter produced something invalid.
    """
    example = torch.zeros((2, height, width, 3), dtype=torch.uint8)
    model = traced(served, example, {0: "batch"}, INPUT, [OUTPUT])
    _read_pixels_once(model)
    name_nodes(model, served.network)
    return serialize(model)


def traced(
    module: nn.Module, example: Tensor, dynamic: Mapping[int, str], taken: str, given: Sequence[str]
) -> onnx.ModelProto:
    """What torch's exporter makes of a module that takes one tensor, with the input `taken` and the outputs `given`.

    `dynamic` names the dimensions of the input that are left open. The nodes have the exporter's own names and notes.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter and its libraries
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[taken],
            output_names=list(given),
            dynamic_shapes=({place: torch.export.Dim(name) for place, name in dynamic.items()},),
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing. This is a bug.")
    return program.model_proto


def _read_pixels_once(model: onnx.ModelProto) -> None:
    """Let nodes that read the batch size read it from the cast pixels, so that only the cast reads the input."""
    cast = next(node for node in model.graph.node if node.op_type == "Cast" and node.input[0] == INPUT)
    others = [node for node in model.graph.node if INPUT in node.input and node is not cast]
    for node in others:
        node.input[:] = [cast.output[0] if name == INPUT else name for name in node.input]
    if others:  # which may stand before the cast
        first = onnx.NodeProto.FromString(cast.SerializeToString())
        model.graph.node.remove(cast)
        model.graph.node.insert(0, first)


def name_nodes(model: onnx.ModelProto, network: nn.Module) -> None:
    """Name nodes after the module they come from: `layer1.0/se/fc1/Conv`, `layer1.0.bn1/Conv`, `Softmax`.

    `network` is the traced module's own `network`. The exporter's notes, which say where nodes come from, are removed.
    """
    blocks = {name for name, _, _ in se_modules(network)}
    used: Counter[str] = Counter()
    for node in model.graph.node:
        module = _module(node)
        block = next((se for se in blocks if module == se or module.startswith(f"{se}.")), None)
        if block is not None:
            module = "/".join(filter(None, [block_name(block), "se", module.removeprefix(block).lstrip(".")]))
        name = f"{module}/{node.op_type}" if module else node.op_type
        used[name] += 1
        node.name = name if used[name] == 1 else f"{name}_{used[name]}"
    _strip(model)


def _module(node: onnx.NodeProto) -> str:
    """The dotted path of the innermost module that a node was traced in, relative to the network; "" outside of it."""
    scopes = next((item.value for item in node.metadata_props if item.key == _SCOPES), "[]")
    paths = [path for path in re.findall(r"'([^']*)'", scopes)[:-1] if path.startswith("network.")]
    return paths[-1].removeprefix("network.") if paths else ""


def _strip(model: onnx.ModelProto) -> None:
    """Remove the exporter's debugging notes, which name paths of this machine and change between runs."""
    graph = model.graph
    for noted in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    model.producer_name, model.producer_version = "sesame", ""
