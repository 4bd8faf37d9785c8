"""Loading: builds a network and puts the tensors of a checkpoint into it. All of them must match."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from models.errors import CheckpointError
from models.networks.design import Design
from models.tensors import Tensors
from models.weightless import weightless

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""The types that weights may have. Quantised weights would need their scales."""


def load(tensors: Tensors, design: Design, original: Callable[[str], str] = str) -> nn.Module:
    """The network in evaluation mode, float32: normalised images (n, 3, h, w) to logits (n, classes).

    `original` gives the file's own name of a canonical tensor, for messages. Raises CheckpointError when a tensor is
    missing, extra, misshapen, not of floats or not finite.
    """
    network = weightless(design.build)
    expected = network.state_dict()
    tensors = {**_counters(expected), **tensors}
    _check(tensors, expected, design.name, original)
    tensors = {key: _float32(value) for key, value in tensors.items()}
    network.load_state_dict(tensors, assign=True)
    return network.eval()


def _is_plain(tensor: Tensor) -> bool:
    return tensor.dtype in FLOATS and tensor.layout is torch.strided and tensor.device.type == "cpu"


def _counters(expected: Tensors) -> Tensors:
    """BatchNorm's step counters. Files older than torch 0.4 do not have them, and inference does not read them."""
    return {key: torch.zeros((), dtype=torch.long) for key in expected if key.endswith("num_batches_tracked")}


def _float32(tensor: Tensor) -> Tensor:
    return tensor.detach().float().contiguous() if tensor.is_floating_point() else tensor


def _check(tensors: Tensors, expected: Tensors, name: str, original: Callable[[str], str]) -> None:
    floats = {key: value for key, value in tensors.items() if _is_plain(value)}
    faults = {
        "missing": [original(key) for key in expected if key not in tensors],
        "extra": [original(key) for key in tensors if key not in expected],
        "misshapen": [
            f"{original(key)} {tuple(tensors[key].shape)} instead of {tuple(want.shape)}"
            for key, want in expected.items()
            if key in tensors and tensors[key].shape != want.shape
        ],
        "not plain floats": [
            f"{original(key)} ({tensors[key].dtype}, {tensors[key].layout})"
            for key, want in expected.items()
            if key in tensors and want.is_floating_point() and key not in floats
        ],
        "not finite": [original(key) for key, value in floats.items() if not bool(torch.isfinite(value).all())],
    }
    found = [_list(fault, keys) for fault, keys in faults.items() if keys]
    if found:
        raise CheckpointError(
            f"The tensors do not make a {name}: {'; '.join(found)}. Use the file as it was trained, or name its "
            "network with --arch timm:NAME."
        )


def _list(fault: str, keys: Iterable[str]) -> str:
    keys = list(keys)
    rest = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{fault} {', '.join(keys[:3])}{rest}"
