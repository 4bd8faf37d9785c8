"""Networks made by the tests: small ones for speed, and specs of the published depths."""

import torch

from models import paper
from models.design import StemKind
from models.seresnet import SEResNetSpec
from models.tensors import Tensors


def spec(depth: int, width: int = 64, classes: int = 1000, stem: StemKind = "7x7") -> SEResNetSpec:
    """An SE-ResNet of a published depth; `width` is that of the first stage inside its blocks."""
    return paper.seresnet(
        depth,
        classes=classes,
        width=width,
        stem=stem,
        stem_channels=(width,),
        squeeze=lambda channels: max(channels // 16, 2),
    )


def tensors(of: SEResNetSpec, seed: int = 0) -> Tensors:
    """Random weights, with BatchNorm statistics and a head that make unlike images get unlike answers."""
    torch.manual_seed(seed)
    network = of.build()
    with torch.inference_mode():
        network.train()
        for _ in range(3):
            network(torch.randn(8, 3, 64, 64) * torch.rand(8, 3, 1, 1) * 2 + torch.randn(8, 3, 1, 1))
        network.fc.weight *= 20
    return {key: value.clone() for key, value in network.state_dict().items()}
