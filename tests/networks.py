"""Networks made by the tests: small ones for speed, and specs of the published depths."""

import torch

from models.checkpoint import Tensors
from models.seresnet import DEPTHS, BlockSpec, SEResNet, SEResNetSpec, StemKind


def spec(depth: int, width: int = 64, classes: int = 1000, stem: StemKind = "7x7") -> SEResNetSpec:
    """An SE-ResNet of a published depth; `width` is that of the first stage inside its blocks."""
    kind, counts = next(key for key, value in DEPTHS.items() if value == depth)
    inputs, stages = width, []
    for stage, count in enumerate(counts):
        inside = width * 2**stage
        outputs = inside * (1 if kind == "basic" else 4)
        blocks = []
        for index in range(count):
            stride = 2 if stage > 0 and index == 0 else 1
            projection = stride > 1 or inputs != outputs
            blocks.append(BlockSpec(kind, inputs, inside, outputs, max(outputs // 16, 2), stride, projection))
            inputs = outputs
        stages.append(tuple(blocks))
    return SEResNetSpec(stem, width, tuple(stages), classes)


def tensors(of: SEResNetSpec, seed: int = 0) -> Tensors:
    """Random weights, with BatchNorm statistics and a head that make unlike images get unlike answers."""
    torch.manual_seed(seed)
    network = SEResNet(of)
    with torch.inference_mode():
        network.train()
        for _ in range(3):
            network(torch.randn(8, 3, 64, 64) * torch.rand(8, 3, 1, 1) * 2 + torch.randn(8, 3, 1, 1))
        network.fc.weight *= 20
    return {key: value.clone() for key, value in network.state_dict().items()}
