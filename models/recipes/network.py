"""Network: the demo's SE-ResNet-18 in any width, with random weights."""

import torch
from torch import nn

from models.paper import seresnet
from models.seresnet import BasicBlock, SEResNet, SEResNetSpec

STEM_CHANNELS = 64


def squeezed(channels: int) -> int:
    """The squeeze width: a sixteenth of the channels, to the nearest multiple of 8, half up, at least 8.

    So does timm's SEModule, which switches off the rule of its rounding that no more than a tenth may be lost.
    """
    return max(8, (channels + 64) // 128 * 8)


def spec(width: int, classes: int) -> SEResNetSpec:
    """The network: a 3x3 stem of stride 2, then four stages of two basic blocks, `width` to 8 · `width` channels."""
    return seresnet(18, classes=classes, width=width, stem="3x3s2", stem_channels=(STEM_CHANNELS,), squeeze=squeezed)


def fresh(wanted: SEResNetSpec, seed: int) -> SEResNet:
    """Random weights: kernels as in He et al. (arXiv 1502.01852), and each block begins as its shortcut alone.

    For the latter the last BatchNorm's gamma is 0: Goyal et al. (arXiv 1706.02677), section 5.1.
    """
    torch.manual_seed(seed)
    network = wanted.build()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.weight)
    return network
