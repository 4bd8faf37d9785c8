"""Fitted: makes an SE-ResNet-50 for the classes of CIFAR-10 without training, where no trained one is available.

Its convolutions are random, its batch norms have the statistics of the photos, and its last layer is fitted to the
photos by least squares. So it is sure of some images, and its activations are as even as those of a trained network.

Use it to compare 8 bits with 7, or one CPU with another. It does not show what a trained SE-ResNet-50 loses. If the
last layer is fitted too closely (a small `_RIDGE`), it amplifies rounding: with VNNI such a network kept the best class
of only 86 to 89 % of its sure images, with 8 and with 7 bits.
"""

import torch
from torch import Tensor, nn

from bundle.images import Pixels
from export.graphs.graph import ServedNetwork
from models.architectures import seresnet

_SEED = 1709
_BATCH = 25
_RIDGE = 30.0  # of the mean square of a feature: with fewer photos than features, less would amplify any rounding
_SPREAD = 1.5  # standard deviation of the logits: the network is then sure of half of the photos


def seresnet50(
    pixels: Pixels, truth: Tensor, classes: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> ServedNetwork:
    """The network, fitted to `pixels` (n, h, w, 3) uint8 and their class indices `truth` (n,)."""
    torch.manual_seed(_SEED)
    network = seresnet(50, classes=classes).build()
    served = ServedNetwork(network, mean, std)
    _take_statistics(served, pixels)
    features = _features(served.eval(), network.fc, pixels)
    centred = features - features.mean(0)
    targets = nn.functional.one_hot(truth, classes).double()
    targets -= targets.mean(0)
    inside = centred.T @ centred
    inside += _RIDGE * len(pixels) * centred.square().mean() * torch.eye(len(inside), dtype=torch.float64)
    weight = torch.linalg.solve(inside, centred.T @ targets)
    weight *= _SPREAD / (centred @ weight).std()
    with torch.no_grad():
        network.fc.weight.copy_(weight.T)
        network.fc.bias.copy_(-features.mean(0) @ weight)
    return served


def _take_statistics(served: ServedNetwork, pixels: Pixels) -> None:
    for module in served.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
            module.reset_running_stats()
    served.train()
    with torch.no_grad():
        for start in range(0, len(pixels), _BATCH):
            served(torch.from_numpy(pixels[start : start + _BATCH]))


def _features(served: ServedNetwork, last: nn.Module, pixels: Pixels) -> Tensor:
    """(n, inputs of the last layer) float64."""
    found: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].double()))
    with torch.no_grad():
        for start in range(0, len(pixels), _BATCH):
            served(torch.from_numpy(pixels[start : start + _BATCH]))
    hook.remove()
    return torch.cat(found)
