"""One export for many tests: a torch network that was exported already, in this process, is not exported again."""

import hashlib

import torch

from export.graphs import graph
from export.graphs.graph import ServedNetwork

honest = graph.to_onnx
_graphs: dict[str, bytes] = {}


def to_onnx(served: ServedNetwork, height: int, width: int) -> bytes:
    """As `graph.to_onnx`, for `monkeypatch.setattr(graph, "to_onnx", exported.to_onnx)`."""
    key = _key(served, height, width)
    if key not in _graphs:
        _graphs[key] = honest(served, height, width)
    return _graphs[key]


def _key(served: ServedNetwork, height: int, width: int) -> str:
    """Of all that the graph depends on: kinds of modules, their plain attributes, all tensors, and the size."""
    digest = hashlib.sha256(repr((height, width)).encode())
    for name, module in served.named_modules():
        plain = {key: value for key, value in vars(module).items() if not isinstance(value, dict | torch.nn.Module)}
        digest.update(f"{name} {type(module)} {plain}".encode())
    for name, tensor in served.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
