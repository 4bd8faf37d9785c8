"""SE-BN-Inception: Ioffe and Szegedy (arXiv 1502.03167), figure 5, in the widths of the authors' Caffe network.

An SE block weights the concatenated outputs of each module. Pooling works as in Caffe: the output size of poolings
without padding is rounded up, and averages include the padding.
"""

import torch
from torch import Tensor, nn

from models.networks.family import Family, MakeSE
from models.networks.layers import ConvNorm

Widths = tuple[int, int, int, int, int, int]
MODULES: dict[str, Widths] = {
    "inception_3a": (64, 64, 64, 64, 96, 32),
    "inception_3b": (64, 64, 96, 64, 96, 64),
    "inception_3c": (0, 128, 160, 64, 96, 0),
    "inception_4a": (224, 64, 96, 96, 128, 128),
    "inception_4b": (192, 96, 128, 96, 128, 128),
    "inception_4c": (160, 128, 160, 128, 160, 128),
    "inception_4d": (96, 128, 192, 160, 192, 128),
    "inception_4e": (0, 128, 192, 192, 256, 0),
    "inception_5a": (352, 192, 320, 160, 224, 128),
    "inception_5b": (352, 192, 320, 192, 224, 128),
}
"""Channels of the 1x1, the 3x3's reduction, the 3x3, the double 3x3's reduction, the double 3x3, the pooled branch.

A module without a 1x1 branch has stride 2, and its pooled branch has no convolution. The widths are those of the
published .caffemodel.
"""


class _Module(nn.Module):
    """Three or four parallel branches, concatenated and weighted by an SE block."""

    def __init__(self, inputs: int, widths: Widths, pool: type[nn.Module], make_se: MakeSE) -> None:
        super().__init__()
        single, reduce3, conv3, reduce_double, double, pooled = widths
        stride = 1 if single else 2
        if single:
            self.single = ConvNorm(inputs, single, 1)
        self.reduce3 = ConvNorm(inputs, reduce3, 1)
        self.conv3 = ConvNorm(reduce3, conv3, 3, stride, 1)
        self.reduce_double = ConvNorm(inputs, reduce_double, 1)
        self.double_a = ConvNorm(reduce_double, double, 3, 1, 1)
        self.double_b = ConvNorm(double, double, 3, stride, 1)
        self.pool = pool(3, 1, 1) if single else nn.AvgPool2d(3, 2, ceil_mode=True)
        if pooled:
            self.project = ConvNorm(inputs, pooled, 1)
        self.outputs = single + conv3 + double + (pooled or inputs)
        self.se = make_se(self.outputs)

    def forward(self, x: Tensor) -> Tensor:
        threes = [self.conv3(self.reduce3(x)), self.double_b(self.double_a(self.reduce_double(x)))]
        if not hasattr(self, "single"):
            return self.se(torch.cat([*threes, self.pool(x)], 1))
        return self.se(torch.cat([self.single(x), *threes, self.project(self.pool(x))], 1))


class SEBNInception(nn.Module):
    def __init__(self, classes: int, make_se: MakeSE) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, 64, 7, 2, 3)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.reduce2 = ConvNorm(64, 64, 1)
        self.conv2 = ConvNorm(64, 192, 3, 1, 1)
        inputs = 192
        for name, widths in MODULES.items():
            pool = nn.MaxPool2d if name == "inception_5b" else nn.AvgPool2d
            module = _Module(inputs, widths, pool, make_se)
            self.add_module(name, module)
            inputs = module.outputs
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.conv2(self.reduce2(self.pool(self.conv1(x)))))
        for name in MODULES:
            x = self.get_submodule(name)(x)
        return self.fc(x.mean((2, 3)))


SE_BN_INCEPTION = Family("sebninception", SEBNInception, mark="inception_5b.double_b.conv.weight", head="fc")
