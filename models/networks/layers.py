"""Layers that several networks share."""

from torch import Tensor, nn
from torch.nn import functional as F

Size = int | tuple[int, int]


class ConvNorm(nn.Module):
    """A convolution without bias, BatchNorm, and ReLU unless `relu` is False."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Size,
        stride: int = 1,
        padding: Size = 0,
        groups: int = 1,
        relu: bool = True,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, epsilon)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return F.relu(x) if self.relu else x
