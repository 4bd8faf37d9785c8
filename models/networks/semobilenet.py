"""SE-MobileNet 1.0: Howard et al. (arXiv 1704.04861), table 1, with an SE block after each pointwise convolution.

13 SE blocks with reduction 16 add 0.48 M parameters to 4.23 M. Hu et al. (arXiv 1709.01507, table 3) state 4.7 M.
"""

from torch import Tensor, nn

from models.networks.family import Family, MakeSE
from models.networks.layers import ConvNorm

BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""Output channels and stride of each depthwise separable block."""


class _Separable(nn.Module):
    """A depthwise 3x3 and a pointwise convolution, then the SE block."""

    def __init__(self, inputs: int, outputs: int, stride: int, make_se: MakeSE) -> None:
        super().__init__()
        self.depthwise = ConvNorm(inputs, inputs, 3, stride, 1, groups=inputs)
        self.pointwise = ConvNorm(inputs, outputs, 1)
        self.se = make_se(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.se(self.pointwise(self.depthwise(x)))


class SEMobileNet(nn.Module):
    def __init__(self, classes: int, make_se: MakeSE) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 32, 3, 2, 1)
        inputs, blocks = 32, []
        for outputs, stride in BLOCKS:
            blocks.append(_Separable(inputs, outputs, stride, make_se))
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


SE_MOBILENET = Family("semobilenet", SEMobileNet, mark="blocks.12.depthwise.conv.weight", head="fc")
