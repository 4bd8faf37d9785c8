"""Our SE-ResNets beside timm's, for every depth, with weights under which a fault shows."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bundle.images import to_picture
from bundle.manifest import Preprocessing
from models import complexity, loading
from models.formats.format import IMAGENET_MEAN, IMAGENET_STD
from models.formats.timm import TIMM
from models.seresnet import SEResNet
from tests import oracles

DEPTHS = (18, 34, 50, 101, 152)
TOLERANCE = 1e-3  # of |Δ log p|
FLOOR = 1e-7  # of p
FIT = Preprocessing(160, 160, "short_side", 182, "bicubic", IMAGENET_MEAN, IMAGENET_STD)


@pytest.fixture(scope="module")
def images(photos: list[Path]) -> Tensor:
    """24 normalised photos, (n, 3, 160, 160)."""
    pixels = np.stack([to_picture(path.read_bytes(), FIT, 50_000_000) for path in photos[::8][:24]])
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (FIT.mean, FIT.std))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - mean) / std


def telling(depth: int, images: Tensor) -> nn.Module:
    """timm's network with random weights that tell images apart: plain ones give p = 0.001 to every class.

    BatchNorm statistics come from the photos, and the classifier is scaled until the median best probability of a photo
    is between 0.3 and 0.9.
    """
    torch.manual_seed(depth)
    network: nn.Module = oracles.timm().create_model(f"seresnet{depth}", pretrained=False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean of what passes through
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    with torch.inference_mode():
        network.train()(images)
        network.eval()
        head = network.get_submodule("fc")
        assert isinstance(head, nn.Linear)
        for _ in range(60):
            best = network(images).softmax(1).max(1).values.median().item()
            if 0.3 <= best <= 0.9:
                break
            head.weight *= 1.25 if best < 0.3 else 0.85
    assert 0.3 <= best <= 0.9
    return network


def log_probabilities(network: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(images).softmax(1).clamp_min(FLOOR).log()


def with_strides_moved(network: SEResNet) -> SEResNet:
    """The stride of each stage's first block in the other convolution, as variants B and C have it."""
    for name in ("layer2.0", "layer3.0", "layer4.0"):
        block = network.get_submodule(name)
        first, second = block.get_submodule("conv1"), block.get_submodule("conv2")
        first.stride, second.stride = second.stride, first.stride
    return network


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_depth_answers_as_timm_does_and_faults_would_show(depth: int, images: Tensor) -> None:
    theirs = telling(depth, images)
    tensors = TIMM.canonical(theirs.state_dict())
    assert TIMM.recognises(tensors)
    spec = loading.read_spec(tensors)
    assert spec.name == f"seresnet{depth}"
    expected = log_probabilities(theirs, images)

    ours = loading.load(tensors, spec)
    faults = {
        "the stride elsewhere": log_probabilities(with_strides_moved(loading.load(tensors, spec)), images),
        "blue for red": log_probabilities(ours, images.flip(1)),
        "another photo": log_probabilities(ours, images.roll(1, 0)),
    }
    for fault, answer in faults.items():
        assert (answer - expected).abs().max() >= 100 * TOLERANCE, fault
    assert (log_probabilities(ours, images) - expected).abs().max() <= TOLERANCE


@pytest.mark.parametrize(
    ("depth", "parameters_m", "multiply_adds_g"),
    [(18, 11.780, 1.814), (34, 21.960, 3.664), (50, 28.088, 4.092), (101, 49.327, 7.806), (152, 66.822, 11.520)],
)
def test_sizes_are_the_published_ones(depth: int, parameters_m: float, multiply_adds_g: float) -> None:
    with torch.device("meta"):
        theirs = oracles.timm().create_model(f"seresnet{depth}", pretrained=False)
        ours = SEResNet(loading.read_spec(theirs.state_dict()))
    assert round(complexity.parameters(ours) / 1e6, 3) == parameters_m
    assert round(complexity.multiply_adds(ours, 224, 224) / 1e9, 3) == multiply_adds_g
