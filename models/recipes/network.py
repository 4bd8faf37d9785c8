"""Network: the demo's SE-ResNet-18 of any width, with random weights."""

import torch
from torch import nn

from models.architectures import seresnet
from models.networks.residual import BasicBlock
from models.networks.seresnet import SEResNet, SEResNetSpec

STEM_CHANNELS = 64


def squeezed_channels(channels: int) -> int:
    """The channels inside an SE block: a sixteenth, rounded to the nearest multiple of 8 (half up), at least 8.

    timm's SEModule computes the same: it calls `make_divisible` with `round_limit=0`.
    """
    return max(8, (channels + 64) // 128 * 8)


def spec(width: int, classes: int) -> SEResNetSpec:
    """A 3x3 stem of stride 2, then four stages of two basic blocks, with `width` to 8 · `width` channels."""
    return seresnet(
        18, classes=classes, width=width, stem="3x3s2", stem_channels=(STEM_CHANNELS,), squeeze=squeezed_channels
    )


def initialised(wanted: SEResNetSpec, seed: int) -> SEResNet:
    """The network with random weights: kernels as in He et al. (arXiv 1502.01852).

    The gamma of each block's last BatchNorm is 0, so that a block begins as its shortcut alone: Goyal et al. (arXiv
    1706.02677), section 5.1.
    """
    torch.manual_seed(seed)
    network = wanted.build()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.weight)
    return network
