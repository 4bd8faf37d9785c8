"""The squeeze-and-excitation block."""

from torch import Tensor, nn
from torch.nn import functional as F


class SEBlock(nn.Module):
    """Weighs each channel by a gate computed from all of them: x · σ(W2·relu(W1·mean(x))).

    Equations 2-4 of Hu et al., "Squeeze-and-Excitation Networks" (arXiv 1709.01507). The two fully connected layers
    are 1x1 convolutions, so that the exported graph needs no reshape.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    @property
    def channels(self) -> int:
        return self.fc1.in_channels

    @property
    def squeezed(self) -> int:
        return self.fc1.out_channels

    def forward(self, x: Tensor) -> Tensor:  # (n, channels, h, w), the same
        gate = x.mean((2, 3), keepdim=True)
        gate = F.relu(self.fc1(gate))
        return x * self.fc2(gate).sigmoid()
