"""The squeeze-and-excitation block, and how to find such blocks in any network."""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional as F


class SEBlock(nn.Module):
    """Multiplies each channel by a gate that is computed from all channels: x · σ(W2·relu(W1·mean(x))).

    Equations 2-4 of Hu et al., "Squeeze-and-Excitation Networks" (arXiv 1709.01507). The two fully connected layers
    are 1x1 convolutions, so that the exported graph needs no reshape. The paper's ablations have no `bias` in them.
    """

    def __init__(self, channels: int, squeezed: int, bias: bool = True) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1, bias=bias)
        self.fc2 = nn.Conv2d(squeezed, channels, 1, bias=bias)

    @property
    def channels(self) -> int:
        return self.fc1.in_channels

    @property
    def squeezed(self) -> int:
        return self.fc1.out_channels

    def gate(self, x: Tensor) -> Tensor:  # (n, channels, h, w) -> (n, channels, 1, 1) in 0..1
        squeezed = F.relu(self.fc1(x.mean((2, 3), keepdim=True)))
        return self.fc2(squeezed).sigmoid()

    def forward(self, x: Tensor) -> Tensor:  # (n, channels, h, w) -> the same shape
        return x * self.gate(x)


_PAIRS = (("fc1", "fc2"), ("conv_reduce", "conv_expand"))
"""The names of the two layers: here, in torchvision and in timm's SEModule; in timm's SqueezeExcite."""


def se_modules(network: nn.Module) -> Iterator[tuple[str, int, int]]:
    """Name, channels and channels inside of every SE block of any network, in the order of its modules.

    An SE block is a module with two layers of those names. The first reduces the channels, the second restores them.
    """
    for name, module in network.named_modules():
        for first, second in _PAIRS:
            squeeze, excite = (_widths(getattr(module, layer, None)) for layer in (first, second))
            if squeeze and excite and squeeze == excite[::-1] and squeeze[1] <= squeeze[0]:
                yield name, *squeeze


def block_name(se_module: str) -> str:
    """The unit that has an SE module: `layer1.0` for `layer1.0.se`, `features.4.block` for `features.4.block.2`."""
    return se_module.rpartition(".")[0]


def _widths(layer: object) -> tuple[int, int] | None:
    if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
        return layer.in_channels, layer.out_channels
    return (layer.in_features, layer.out_features) if isinstance(layer, nn.Linear) else None
