"""From canonical tensors to a network: every width is read from the tensors, and every tensor must find its place."""

import re
from typing import get_args

import torch
from torch import Tensor

from models.checkpoint import Tensors
from models.errors import CheckpointError
from models.seresnet import DEPTHS, BlockKind, BlockSpec, SEResNet, SEResNetSpec, StemKind

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""What weights are stored in; quantised ones would need their scales."""


def read_spec(tensors: Tensors, stem: StemKind | None = None) -> SEResNetSpec:
    """What SE-ResNet the tensors make up. A 3x3 stem does not show its stride, so `stem` must then say it.

    Raises CheckpointError when a tensor that tells a width is missing or the blocks fit no known depth.
    """
    kind: BlockKind = "bottleneck" if any(key.endswith(".conv3.weight") for key in tensors) else "basic"
    counts = tuple(_block_count(tensors, number) for number in range(1, 5))
    if (kind, counts) not in DEPTHS:
        raise CheckpointError(
            f"{kind} blocks {counts} per stage fit no SE-ResNet: the known are "
            + ", ".join(f"{depth} {known}" for (_, known), depth in DEPTHS.items())
            + "; a file with fewer blocks is incomplete."
        )
    inputs = stem_channels = _width(tensors, "bn1.weight")
    stages = []
    for number, count in enumerate(counts, start=1):
        blocks = []
        for index in range(count):
            stride = 2 if number > 1 and index == 0 else 1
            blocks.append(_block(tensors, f"layer{number}.{index}", kind, inputs, stride))
            inputs = blocks[-1].outputs
        stages.append(tuple(blocks))
    return SEResNetSpec(_stem(tensors, stem), stem_channels, tuple(stages), _width(tensors, "fc.bias"))


def load(tensors: Tensors, spec: SEResNetSpec) -> SEResNet:
    """The network in evaluation mode, float32.

    Raises CheckpointError when a tensor is missing, extra, misshapen or not finite.
    """
    with torch.device("meta"):
        network = SEResNet(spec)
    expected = network.state_dict()
    tensors = {**_counters(expected), **tensors}
    _check(tensors, expected, spec.name)
    network.load_state_dict({key: _float32(value) for key, value in tensors.items()}, assign=True)
    return network.eval()


def _tensor(tensors: Tensors, name: str) -> Tensor:
    if name not in tensors:
        raise CheckpointError(f"Tensor '{name}' is missing: the file is incomplete or of another network.")
    return tensors[name]


def _width(tensors: Tensors, vector: str) -> int:
    """Widths are read from vectors (BatchNorm, biases): a misshapen kernel then stands out by itself."""
    return len(_tensor(tensors, vector).flatten())


def _block_count(tensors: Tensors, stage: int) -> int:
    found = [int(m[1]) for key in tensors if (m := re.match(rf"layer{stage}\.(\d+)\.", key))]
    return max(found, default=-1) + 1


def _block(tensors: Tensors, name: str, kind: BlockKind, inputs: int, stride: int) -> BlockSpec:
    last = "bn2" if kind == "basic" else "bn3"
    outputs = _width(tensors, f"{name}.{last}.weight")
    return BlockSpec(
        kind=kind,
        inputs=inputs,
        inside=_width(tensors, f"{name}.bn1.weight"),
        outputs=outputs,
        squeezed=_width(tensors, f"{name}.se.fc1.bias"),
        stride=stride,
        projection=stride > 1 or inputs != outputs or f"{name}.downsample.0.weight" in tensors,
    )


def _stem(tensors: Tensors, chosen: StemKind | None) -> StemKind:
    first = _tensor(tensors, "conv1.weight")
    if first.ndim != 4:
        raise CheckpointError(f"Tensor 'conv1.weight' has shape {tuple(first.shape)}, which is no convolution's.")
    kernel = first.shape[-1]
    fitting = [stem for stem in get_args(StemKind) if stem.startswith(f"{kernel}x{kernel}")]
    if chosen is None and len(fitting) > 1:
        raise CheckpointError(
            f"The {kernel}x{kernel} stem does not show its stride: say --stem {' or --stem '.join(fitting)} "
            "(a wrong one loads without an error and ruins the accuracy)."
        )
    if not fitting or chosen not in (None, *fitting):
        raise CheckpointError(
            f"The first convolution is {kernel}x{kernel}, which fits "
            + (f"--stem {' or '.join(fitting)}, not {chosen}." if fitting else "no known stem (7x7, 3x3s2, 3x3s1).")
        )
    return chosen or fitting[0]


def _is_plain(tensor: Tensor) -> bool:
    return tensor.dtype in FLOATS and tensor.layout is torch.strided and tensor.device.type == "cpu"


def _counters(expected: Tensors) -> Tensors:
    """BatchNorm's step counters, which files older than torch 0.4 lack and inference never reads."""
    return {key: torch.zeros((), dtype=torch.long) for key in expected if key.endswith("num_batches_tracked")}


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float().contiguous() if tensor.is_floating_point() else tensor


def _check(tensors: Tensors, expected: Tensors, name: str) -> None:
    floats = {key: value for key, value in tensors.items() if _is_plain(value)}
    faults = {
        "missing": [key for key in expected if key not in tensors],
        "extra": [key for key in tensors if key not in expected],
        "misshapen": [
            f"{key} {tuple(tensors[key].shape)} instead of {tuple(want.shape)}"
            for key, want in expected.items()
            if key in tensors and tensors[key].shape != want.shape
        ],
        "of another kind than plain floats": [
            f"{key} ({tensors[key].dtype}, {tensors[key].layout})"
            for key, want in expected.items()
            if key in tensors and want.is_floating_point() and key not in floats
        ],
        "not finite": [key for key, value in floats.items() if not bool(torch.isfinite(value).all())],
    }
    found = [_listed(fault, keys) for fault, keys in faults.items() if keys]
    if found:
        raise CheckpointError(f"The tensors do not make a {name}: {'; '.join(found)}. Use the file as it was trained.")


def _listed(fault: str, keys: list[str]) -> str:
    rest = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{fault} {', '.join(keys[:3])}{rest}"
