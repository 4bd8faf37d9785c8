"""SE-Inception-ResNet-v2: Szegedy et al. (arXiv 1602.07261), with the widths and counts of the code they published.

Published weights have these (10, 20 and 10 blocks, scaled residuals); the figures of the article show others. Names are
those of timm's `inception_resnet_v2`, with an `se` in each residual block, after its last convolution.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.networks.family import Family, MakeSE
from models.networks.layers import ConvNorm, Size

EPSILON = 1e-3  # of its BatchNorms

Step = tuple[int, Size, int]
"""Output channels, kernel and stride of one convolution. It is padded to keep the size only where the stride is 1."""


def _conv(inputs: int, outputs: int, kernel: Size, stride: int = 1, padding: Size = 0) -> ConvNorm:
    return ConvNorm(inputs, outputs, kernel, stride, padding, epsilon=EPSILON)


def _chain(inputs: int, *steps: Step) -> nn.Sequential:
    layers = []
    for outputs, kernel, stride in steps:
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        layers.append(_conv(inputs, outputs, kernel, stride, (height // 2, width // 2) if stride == 1 else 0))
        inputs = outputs
    return nn.Sequential(*layers)


class _Branches(nn.Module):
    """Parallel branches `branch0`, `branch1`, …, whose outputs are concatenated."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.count = len(branches)
        for number, branch in enumerate(branches):
            self.add_module(f"branch{number}", branch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.get_submodule(f"branch{number}")(x) for number in range(self.count)], 1)


class _Residual(_Branches):
    """Branches, a 1x1 convolution to the input's channels, and the SE block; adds `share` times that to the input."""

    def __init__(
        self, channels: int, inside: int, share: float, make_se: MakeSE, *branches: nn.Module, relu: bool = True
    ) -> None:
        super().__init__(*branches)
        self.conv2d = nn.Conv2d(inside, channels, 1)
        self.se = make_se(channels)
        self.share, self.relu = share, relu

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.share * self.se(self.conv2d(super().forward(x)))
        return F.relu(x) if self.relu else x


def _block35(make_se: MakeSE) -> _Residual:
    branches = (_chain(320, (32, 1, 1), (32, 3, 1)), _chain(320, (32, 1, 1), (48, 3, 1), (64, 3, 1)))
    return _Residual(320, 128, 0.17, make_se, _conv(320, 32, 1), *branches)


def _block17(make_se: MakeSE) -> _Residual:
    branch = _chain(1088, (128, 1, 1), (160, (1, 7), 1), (192, (7, 1), 1))
    return _Residual(1088, 384, 0.10, make_se, _conv(1088, 192, 1), branch)


def _block8(make_se: MakeSE, last: bool = False) -> _Residual:
    branch = _chain(2080, (192, 1, 1), (224, (1, 3), 1), (256, (3, 1), 1))
    share = 1.0 if last else 0.20
    return _Residual(2080, 448, share, make_se, _conv(2080, 192, 1), branch, relu=not last)


class SEInceptionResNetV2(nn.Module):
    def __init__(self, classes: int, make_se: MakeSE) -> None:
        super().__init__()
        self.conv2d_1a = _conv(3, 32, 3, 2)
        self.conv2d_2a = _conv(32, 32, 3)
        self.conv2d_2b = _conv(32, 64, 3, padding=1)
        self.conv2d_3b = _conv(64, 80, 1)
        self.conv2d_4a = _conv(80, 192, 3)
        self.mixed_5b = _Branches(
            _conv(192, 96, 1),
            _chain(192, (48, 1, 1), (64, 5, 1)),
            _chain(192, (64, 1, 1), (96, 3, 1), (96, 3, 1)),
            nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), _conv(192, 64, 1)),
        )
        self.repeat = nn.Sequential(*(_block35(make_se) for _ in range(10)))
        self.mixed_6a = _Branches(
            _conv(320, 384, 3, 2), _chain(320, (256, 1, 1), (256, 3, 1), (384, 3, 2)), nn.MaxPool2d(3, 2)
        )
        self.repeat_1 = nn.Sequential(*(_block17(make_se) for _ in range(20)))
        self.mixed_7a = _Branches(
            _chain(1088, (256, 1, 1), (384, 3, 2)),
            _chain(1088, (256, 1, 1), (288, 3, 2)),
            _chain(1088, (256, 1, 1), (288, 3, 1), (320, 3, 2)),
            nn.MaxPool2d(3, 2),
        )
        self.repeat_2 = nn.Sequential(*(_block8(make_se) for _ in range(9)))
        self.block8 = _block8(make_se, last=True)
        self.conv2d_7b = _conv(2080, 1536, 1)
        self.classif = nn.Linear(1536, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x))), 3, 2)
        x = F.max_pool2d(self.conv2d_4a(self.conv2d_3b(x)), 3, 2)
        x = self.repeat(self.mixed_5b(x))
        x = self.repeat_1(self.mixed_6a(x))
        x = self.block8(self.repeat_2(self.mixed_7a(x)))
        return self.classif(self.conv2d_7b(x).mean((2, 3)))


SE_INCEPTION_RESNET_V2 = Family(
    "seinceptionresnetv2", SEInceptionResNetV2, mark="block8.conv2d.weight", head="classif", size=299, resize_to=352
)
