"""Network: the demo's SE-ResNet-18 in any width, with random weights."""

import torch
from torch import nn

from models.seresnet import BasicBlock, BlockSpec, SEResNet, SEResNetSpec

STEM_CHANNELS = 64
BLOCKS = 2  # of each of the four stages


def squeezed(channels: int) -> int:
    """The squeeze width: a sixteenth of the channels, to the nearest multiple of 8, half up, at least 8.

    So does timm's SEModule, which switches off the rule of its rounding that no more than a tenth may be lost.
    """
    return max(8, (channels + 64) // 128 * 8)


def spec(width: int, classes: int) -> SEResNetSpec:
    """The network: a 3x3 stem of stride 2, then four stages of two basic blocks, `width` to 8 · `width` channels."""
    stages: list[tuple[BlockSpec, ...]] = []
    inputs = STEM_CHANNELS
    for outputs in (width, 2 * width, 4 * width, 8 * width):
        stage = []
        for index in range(BLOCKS):
            stride = 2 if stages and index == 0 else 1
            projection = stride > 1 or inputs != outputs
            stage.append(BlockSpec("basic", inputs, outputs, outputs, squeezed(outputs), stride, projection))
            inputs = outputs
        stages.append(tuple(stage))
    return SEResNetSpec("3x3s2", STEM_CHANNELS, tuple(stages), classes)


def fresh(wanted: SEResNetSpec, seed: int) -> SEResNet:
    """Random weights: kernels as in He et al. (arXiv 1502.01852), and each block begins as its shortcut alone.

    For the latter the last BatchNorm's gamma is 0: Goyal et al. (arXiv 1706.02677), section 5.1.
    """
    torch.manual_seed(seed)
    network = SEResNet(wanted)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.weight)
    return network
