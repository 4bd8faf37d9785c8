"""Our networks give the same answers as the reference networks, with weights that make every fault visible."""

import dataclasses
import functools
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bundle.images import to_picture
from bundle.manifest import Preprocessing
from models import trained
from models.evaluation import IMAGENET_MEAN, IMAGENET_STD
from models.trained import Trained
from tests.support.reference_networks import NETWORKS, ReferenceNetwork, Tensors, distinct, seeded

TOLERANCE = 1e-3  # of |Δ log p|
FLOOR = 1e-7  # of p


@functools.cache
def normalised(photos: tuple[Path, ...], size: int) -> Tensor:
    """8 photos, (8, 3, size, size)."""
    preprocessing = Preprocessing(
        size, size, "short_side", round(size / 0.875), "bilinear", IMAGENET_MEAN, IMAGENET_STD
    )
    pixels = np.stack([to_picture(path.read_bytes(), preprocessing, 50_000_000) for path in photos])
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - mean) / std


def write(tensors: Tensors, path: Path) -> Path:
    """Save the tensors as the format's own code does."""
    if path.suffix == ".pdparams":
        path.write_bytes(pickle.dumps({key: value.numpy() for key, value in tensors.items()}, protocol=4))
    else:
        torch.save({"state_dict": tensors}, path)
    return path


def log_probabilities(network: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(images).softmax(1).clamp_min(FLOOR).log()


def other_variants(read: Trained) -> dict[str, Trained]:
    """The variants whose graph differs: basic units can stride in one place only, and CIFAR stems have no pooling."""
    used = read.design.traits
    assert used.variant  # it has been read
    bottleneck = any(key.endswith(".conv3.weight") for key in read.tensors)
    pooled = used.stem in ("7x7", "deep")
    strides, pools = {"A": 0, "B": 1, "C": 1, "D": 0}, {"A": 0, "B": 1, "C": 0, "D": 1}
    return {
        f"variant {variant}": read.with_traits(dataclasses.replace(used, variant=variant))
        for variant in ("A", "B", "C", "D")
        if (bottleneck and strides[variant] != strides[used.variant])
        or (pooled and pools[variant] != pools[used.variant])
    }


@pytest.mark.parametrize(
    "reference",
    [pytest.param(case, id=case.id, marks=pytest.mark.slow if case.repeats else ()) for case in NETWORKS],
)
def test_every_format_answers_as_the_code_it_was_trained_by_and_faults_would_show(
    reference: ReferenceNetwork, photos: list[Path], tmp_path: Path
) -> None:
    images = normalised(tuple(photos[::24][:8]), reference.size)
    theirs = distinct(seeded(reference.build), images)
    expected = log_probabilities(theirs, images)
    path = write(reference.rename(theirs.state_dict()), tmp_path / reference.file)

    read = trained.understand(path)
    used = read.design.traits
    assert (read.format, read.design.name, used.variant) == (reference.format, reference.name, reference.variant)
    ours = read.network()
    answers = log_probabilities(ours, images)
    two = images[:2]
    faults = {
        "blue for red": log_probabilities(ours, two.flip(1)),
        "another photo": answers.roll(1, 0)[:2],
        **{name: log_probabilities(other.network(), two) for name, other in other_variants(read).items()},
    }
    for fault, answer in faults.items():
        assert (answer - expected[:2]).abs().max() >= 100 * TOLERANCE, fault
    assert (answers - expected).abs().max() <= TOLERANCE
