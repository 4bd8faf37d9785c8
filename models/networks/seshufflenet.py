"""SE-ShuffleNet 1x with three groups: Zhang et al. (arXiv 1707.01083), table 1.

An SE block ends the branch of each unit.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.networks.family import Family, MakeSE
from models.networks.layers import ConvNorm

GROUPS = 3
STEM = 24
STAGES = ((240, 4), (480, 8), (960, 4))
"""Output channels and units of stages 2 to 4."""


class _Unit(nn.Module):
    """Figure 2: grouped 1x1, shuffle, depthwise 3x3, grouped 1x1.

    The result is added to the input. In a unit of stride 2 it is concatenated with the average-pooled input instead.
    The first 1x1 of the network has one group, because it has only 24 input channels.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int, make_se: MakeSE) -> None:
        super().__init__()
        inside, branch = outputs // 4, outputs - inputs if stride > 1 else outputs
        self.reduce = ConvNorm(inputs, inside, 1, groups=groups)
        self.depthwise = ConvNorm(inside, inside, 3, stride, 1, groups=inside, relu=False)
        self.expand = ConvNorm(inside, branch, 1, groups=GROUPS, relu=False)
        self.se = make_se(branch)
        self.pool = nn.AvgPool2d(3, 2, 1) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        branch = self.se(self.expand(self.depthwise(_shuffled(self.reduce(x)))))
        if self.pool is None:
            return F.relu(branch + x)
        return F.relu(torch.cat((self.pool(x), branch), 1))


def _shuffled(x: Tensor) -> Tensor:
    """Reorders channels from (group, index) to (index, group): each group of the next convolution sees all groups."""
    channels, height, width = x.shape[1:]
    return x.reshape(-1, GROUPS, channels // GROUPS, height, width).transpose(1, 2).flatten(1, 2)


class SEShuffleNet(nn.Module):
    def __init__(self, classes: int, make_se: MakeSE) -> None:
        super().__init__()
        self.stem = ConvNorm(3, STEM, 3, 2, 1)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs, stages = STEM, []
        for outputs, count in STAGES:
            units = []
            for index in range(count):
                groups = 1 if inputs == STEM else GROUPS
                units.append(_Unit(inputs, outputs, 2 if index == 0 else 1, groups, make_se))
                inputs = outputs
            stages.append(nn.Sequential(*units))
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.stages(self.maxpool(self.stem(x))).mean((2, 3)))


SE_SHUFFLENET = Family("seshufflenet", SEShuffleNet, mark="stages.2.3.depthwise.conv.weight", head="fc")
