"""Networks for tests: specs of the published depths, in any width, and random tensors for them."""

import torch

from models import architectures
from models.networks.design import StemKind
from models.networks.seresnet import SEResNetSpec
from models.tensors import Tensors


def spec(depth: int, width: int = 64, classes: int = 1000, stem: StemKind = "7x7") -> SEResNetSpec:
    """An SE-ResNet of a published depth. `width` is the number of channels inside the units of the first stage."""
    return architectures.seresnet(
        depth,
        classes=classes,
        width=width,
        stem=stem,
        stem_channels=(width,),
        squeeze=lambda channels: max(channels // 16, 2),
    )


def tensors(of: SEResNetSpec, seed: int = 0) -> Tensors:
    """Random weights whose BatchNorm statistics and last layer give different images different answers."""
    torch.manual_seed(seed)
    network = of.build()
    with torch.inference_mode():
        network.train()
        for _ in range(3):
            network(torch.randn(8, 3, 64, 64) * torch.rand(8, 3, 1, 1) * 2 + torch.randn(8, 3, 1, 1))
        network.fc.weight *= 20
    return {key: value.clone() for key, value in network.state_dict().items()}
