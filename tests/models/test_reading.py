"""Checkpoints as people have them: wrapped, averaged, damaged, of another network."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models import checkpoint, formats, loading
from models.checkpoint import Tensors
from models.errors import CheckpointError
from tests import networks

SPEC = networks.spec(18, width=8, classes=10, stem="3x3s2")


@pytest.fixture(scope="module")
def good() -> Tensors:
    return networks.tensors(SPEC)


def saved(content: object, folder: Path) -> Path:
    path = folder / "checkpoint.pth"
    torch.save(content, path)
    return path


@pytest.mark.parametrize("depth", [18, 34, 50])
@pytest.mark.parametrize("stem", ["7x7", "3x3s2", "3x3s1"])
def test_a_spec_is_read_back_from_its_tensors(depth: int, stem: Any) -> None:
    spec = networks.spec(depth, width=8, classes=7, stem=stem)
    assert loading.read_spec(networks.tensors(spec), stem) == spec


def test_odd_se_widths_are_read_and_not_computed() -> None:
    spec = networks.spec(50, width=8)
    tensors = networks.tensors(spec)
    tensors["layer2.1.se.fc1.weight"] = torch.zeros(5, 64, 1, 1)
    tensors["layer2.1.se.fc1.bias"] = torch.zeros(5)
    tensors["layer2.1.se.fc2.weight"] = torch.zeros(64, 5, 1, 1)
    read = loading.read_spec(tensors)
    assert [block.squeezed for block in read.stages[1]] == [4, 5, 4, 4]
    loading.load(tensors, read)


WRAPPINGS: dict[str, Callable[[Tensors], object]] = {
    "the whole file": lambda good: good,
    "'state_dict'": lambda good: {"state_dict": good, "epoch": 3, "optimizer": {"state": {}}},
    "'model'": lambda good: {"model": good},
    "the whole file, keys without 'module.'": lambda good: {f"module.{k}": v for k, v in good.items()},
    "'state_dict', keys without 'module._orig_mod.'": lambda good: {
        "state_dict": {f"module._orig_mod.{k}": v for k, v in good.items()}
    },
}


@pytest.mark.parametrize("taken", WRAPPINGS)
def test_wrappers_are_peeled_and_named(taken: str, good: Tensors, tmp_path: Path) -> None:
    read = checkpoint.read(saved(WRAPPINGS[taken](good), tmp_path))
    assert read.taken == taken
    assert read.tensors.keys() == good.keys()


def test_of_two_sets_the_average_is_taken_unless_the_user_says_otherwise(good: Tensors, tmp_path: Path) -> None:
    average = {key: value + 1 for key, value in good.items()}
    path = saved({"state_dict": good, "state_dict_ema": average}, tmp_path)
    by_itself, wished = checkpoint.read(path), checkpoint.read(path, "state_dict")
    assert (by_itself.taken, wished.taken) == ("'state_dict_ema'", "'state_dict'")
    assert torch.equal(by_itself.tensors["fc.bias"], good["fc.bias"] + 1)
    assert torch.equal(wished.tensors["fc.bias"], good["fc.bias"])


def test_a_real_training_checkpoint_is_read(shared: Path) -> None:
    read = checkpoint.read(shared / "weights" / "seresnet18_tiny.pth")
    spec = loading.read_spec(read.tensors, "3x3s2")
    assert (read.taken, spec.name, spec.classes) == ("'state_dict'", "seresnet18", 200)


def without(key: str) -> Callable[[Tensors], Tensors]:
    return lambda good: {k: v for k, v in good.items() if k != key}


def with_tensor(key: str, value: torch.Tensor) -> Callable[[Tensors], Tensors]:
    return lambda good: {**good, key: value}


FAULTS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "missing kernel": (without("layer2.0.conv2.weight"), "missing layer2.0.conv2.weight"),
    "missing vector": (without("layer2.0.bn1.weight"), "'layer2.0.bn1.weight' is missing"),
    "missing downsample": (without("layer2.0.downsample.0.weight"), "missing layer2.0.downsample.0.weight"),
    "missing head": (without("fc.weight"), "missing fc.weight"),
    "extra": (with_tensor("aux.weight", torch.zeros(1)), "extra aux.weight"),
    "misshapen": (
        with_tensor("layer1.1.conv1.weight", torch.zeros(8, 9, 3, 3)),
        r"misshapen layer1.1.conv1.weight \(8, 9, 3, 3\) instead of \(8, 8, 3, 3\)",
    ),
    "not finite": (with_tensor("fc.bias", torch.full((10,), torch.nan)), "not finite fc.bias"),
    "whole numbers": (
        with_tensor("fc.weight", torch.zeros(10, 64, dtype=torch.int8)),
        r"plain floats fc.weight \(torch.int8",
    ),
    "complex": (with_tensor("fc.bias", torch.zeros(10, dtype=torch.complex64)), "plain floats fc.bias"),
    "sparse": (with_tensor("fc.weight", torch.zeros(10, 64).to_sparse()), "plain floats fc.weight"),
    "eight bits": (with_tensor("fc.bias", torch.zeros(10).to(torch.float8_e4m3fn)), "plain floats fc.bias"),
    "a stage short": (
        lambda good: {k: v for k, v in good.items() if not k.startswith("layer4.1")},
        r"\(2, 2, 2, 1\) per stage fit no SE-ResNet: the known are 18",
    ),
    "no convolution": (with_tensor("conv1.weight", torch.zeros(())), r"'conv1.weight' has shape \(\)"),
    "no values": (with_tensor("fc.bias", torch.zeros(10, device="meta")), "plain floats fc.bias"),
    "strange stem": (with_tensor("conv1.weight", torch.zeros(8, 3, 5, 5)), "5x5, which fits no known stem"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_the_tensors_is_named_in_one_sentence(fault: str, good: Tensors) -> None:
    spoil, message = FAULTS[fault]
    tensors = spoil(good)
    with pytest.raises(CheckpointError, match=message):
        loading.load(tensors, loading.read_spec(tensors, "3x3s2"))


@pytest.mark.parametrize("kind", loading.FLOATS)
def test_every_kind_of_float_becomes_float32(kind: torch.dtype, good: Tensors) -> None:
    stored = {key: value.to(kind) if value.is_floating_point() else value for key, value in good.items()}
    network = loading.load(stored, loading.read_spec(stored, "3x3s2"))
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32, torch.int64}


def test_missing_step_counters_are_no_fault(good: Tensors) -> None:
    old = {key: value for key, value in good.items() if not key.endswith("num_batches_tracked")}
    loading.load(old, loading.read_spec(old, "3x3s2"))


def test_a_3x3_stem_stops_the_reading_and_names_both_choices(good: Tensors) -> None:
    with pytest.raises(CheckpointError, match=r"--stem 3x3s2 or --stem 3x3s1"):
        loading.read_spec(good)


def test_a_stem_that_does_not_fit_is_refused(good: Tensors) -> None:
    with pytest.raises(CheckpointError, match="is 3x3, which fits --stem 3x3s2 or 3x3s1, not 7x7"):
        loading.read_spec(good, "7x7")


def test_a_network_without_se_is_no_known_format(good: Tensors) -> None:
    plain = {key: value for key, value in good.items() if ".se." not in key}
    with pytest.raises(CheckpointError, match="all of them have SE blocks"):
        formats.detect(plain)


class Trap:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


def test_no_code_is_run_from_a_checkpoint(good: Tensors, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    for content in ({"state_dict": good, "x": Trap(sprung)}, {"state_dict": good, "args": argparse.Namespace(lr=1)}):
        with pytest.raises(CheckpointError, match=r"opening it could run code: .*save its state_dict"):
            checkpoint.read(saved(content, tmp_path))
    assert not sprung.exists()


@pytest.mark.parametrize(
    "content", [{}, {"epoch": 1}, [1, 2], torch.zeros(3), {"model": {"n_averaged": torch.tensor(1)}}]
)
def test_a_file_without_weights_is_refused(content: object, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"not weights|no weights"):
        checkpoint.read(saved(content, tmp_path))


@pytest.mark.parametrize("kept", [0, 10, 3000])
def test_a_file_cut_short_is_refused(kept: int, good: Tensors, tmp_path: Path) -> None:
    path = saved(good, tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"damaged, incomplete or of another kind|opening it could run code"):
        checkpoint.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no file .*nowhere.pth"):
        checkpoint.read(tmp_path / "nowhere.pth")
