"""SE-VGG-16 with BatchNorm: Simonyan and Zisserman (arXiv 1409.1556), configuration D.

An SE block stands "after the non-linearity following each convolution" (Hu et al., arXiv 1709.01507, section 3.3).
"""

from torch import Tensor, nn
from torch.nn import functional as F

from models.networks.family import Family, MakeSE
from models.networks.layers import ConvNorm

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of each stage; a pooling follows each."""


class _Layer(nn.Module):
    """3x3 convolution, BatchNorm, ReLU, SE block."""

    def __init__(self, inputs: int, outputs: int, make_se: MakeSE) -> None:
        super().__init__()
        self.body = ConvNorm(inputs, outputs, 3, padding=1)
        self.se = make_se(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.se(self.body(x))


class SEVGG16(nn.Module):
    """Takes images of 224x224 pixels only: its first fully connected layer needs a feature map of 7x7."""

    def __init__(self, classes: int, make_se: MakeSE) -> None:
        super().__init__()
        inputs, stages = 3, []
        for channels, count in STAGES:
            layers = []
            for _ in range(count):
                layers.append(_Layer(inputs, channels, make_se))
                inputs = channels
            stages.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
        self.stages = nn.Sequential(*stages)
        self.fc6 = nn.Linear(512 * 7 * 7, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(x).flatten(1)
        return self.fc8(F.relu(self.fc7(F.relu(self.fc6(x)))))


SE_VGG_16 = Family("sevgg16", SEVGG16, mark="stages.4.2.body.conv.weight", head="fc8")
