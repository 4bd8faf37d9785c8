"""Checkpoints as users have them: wrapped, averaged, damaged, or of another network."""

import argparse
import dataclasses
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models import checkpoint, formats, loading, trained
from models.architectures import none, reduced_by, seresnet
from models.errors import CheckpointError
from models.formats.format import Format
from models.networks.design import SEPlace, Traits
from models.networks.residual import Shortcut
from models.networks.seresnet import SEResNetSpec
from models.seresnet_reader import read
from models.tensors import Tensors
from models.trained import ReadOptions
from tests.support import networks

SPEC = networks.spec(18, width=8, classes=10, stem="3x3s2")
DEMO = Traits(variant="A", stem="3x3s2")


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
    assert read(spec.build().state_dict(), Traits("A", stem)) == spec


def test_odd_se_widths_are_read_and_not_computed() -> None:
    spec = networks.spec(50, width=8)
    tensors = networks.tensors(spec)
    tensors["layer2.1.se.fc1.weight"] = torch.zeros(5, 64, 1, 1)
    tensors["layer2.1.se.fc1.bias"] = torch.zeros(5)
    tensors["layer2.1.se.fc2.weight"] = torch.zeros(64, 5, 1, 1)
    found = read(tensors, Traits("A"))
    assert [block.squeezed for block in found.stages[1]] == [4, 5, 4, 4]
    loading.load(tensors, found)


@pytest.mark.parametrize("place", ["standard", "pre", "post", "identity"])
@pytest.mark.parametrize("reduction", [2, 4, 8, 16, 32])
def test_the_papers_se_variants_are_read_and_differ(place: SEPlace, reduction: int) -> None:
    spec = seresnet(
        10, classes=7, width=32, squeeze=lambda channels: channels // reduction, se_place=place, stem_channels=(32,)
    )
    tensors = networks.tensors(spec)
    assert read(tensors, Traits("A", se_place=place)) == spec
    images = torch.randn(4, 3, 64, 64)
    with torch.inference_mode():
        answers = [loading.load(tensors, spec)(images)]
        if place != "pre":  # whose SE widths are others
            others = [other for other in get_args(SEPlace) if other not in ("pre", place)]
            answers += [loading.load(tensors, dataclasses.replace(spec, se_place=other))(images) for other in others]
    assert all((answer - answers[0]).abs().max() > 0.1 for answer in answers[1:])


WRAPPINGS: dict[str, Callable[[Tensors], object]] = {
    "the whole file": lambda good: good,
    "'state_dict'": lambda good: {"state_dict": good, "epoch": 3, "optimizer": {"state": {}}},
    "'model'": lambda good: {"model": good},
    "the whole file, keys without 'module.'": lambda good: {f"module.{k}": v for k, v in good.items()},
    "'state_dict', keys without 'module._orig_mod.'": lambda good: {
        "state_dict": {f"module._orig_mod.{k}": v for k, v in good.items()}
    },
    "'model.state_dict'": lambda good: {"model": {"state_dict": good, "epoch": 1}},
    "'state_dict', keys without 'model.', without criterion.weight": lambda good: {
        "state_dict": {**{f"model.{k}": v for k, v in good.items()}, "criterion.weight": torch.zeros(10)}
    },
    "'state_dict', keys without 'student.', without teacher.x": lambda good: {
        "state_dict": {**{f"student.{k}": v for k, v in good.items()}, "teacher.x": torch.zeros(10)}
    },
    "the whole file, without n_averaged": lambda good: {**good, "n_averaged": torch.tensor(3)},
}


@pytest.mark.parametrize("taken", WRAPPINGS)
def test_wrappers_are_removed_and_named(taken: str, good: Tensors, tmp_path: Path) -> None:
    found = trained.understand(saved(WRAPPINGS[taken](good), tmp_path), ReadOptions(traits=DEMO)).source
    assert found.taken == taken
    assert found.tensors.keys() == good.keys()


def test_of_two_sets_the_average_is_taken_unless_the_user_says_otherwise(good: Tensors, tmp_path: Path) -> None:
    average = {key: value + 1 for key, value in good.items()}
    path = saved({"state_dict": good, "state_dict_ema": average}, tmp_path)
    by_itself, wished = checkpoint.read(path), checkpoint.read(path, "state_dict")
    assert (by_itself.taken, wished.taken) == ("'state_dict_ema'", "'state_dict'")
    assert torch.equal(by_itself.tensors["fc.bias"], good["fc.bias"] + 1)
    assert torch.equal(wished.tensors["fc.bias"], good["fc.bias"])


def test_a_real_training_checkpoint_is_read(shared: Path) -> None:
    found = trained.understand(shared / "weights" / "seresnet18_tiny.pth", ReadOptions(traits=Traits(stem="3x3s2")))
    assert (found.source.taken, found.design.name, found.design.classes) == ("'state_dict'", "seresnet18", 200)


def test_a_real_network_of_moskomules_is_read_from_its_training_checkpoint(shared: Path) -> None:
    found = trained.understand(shared / "weights" / "se_resnet20_cifar10_checkpoint.pth.tar")
    assert found.source.taken == "'state_dict_ema'"
    assert (found.format, found.design.name, found.source.arch) == ("moskomule-cifar", "seresnet20", "se_resnet20")
    found.network()


def without(key: str) -> Callable[[Tensors], Tensors]:
    return lambda good: {k: v for k, v in good.items() if k != key}


def with_tensor(key: str, value: torch.Tensor) -> Callable[[Tensors], Tensors]:
    return lambda good: {**good, key: value}


FAULTS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "missing kernel": (without("layer2.0.conv2.weight"), "missing layer2.0.conv2.weight"),
    "missing vector": (without("layer2.0.bn1.weight"), "'layer2.0.bn1.weight' is missing"),
    "missing downsample": (without("layer2.0.downsample.0.weight"), "'layer2.0.downsample.0.weight' is missing"),
    "missing head": (without("fc.weight"), "missing fc.weight"),
    "extra": (with_tensor("surplus.weight", torch.zeros(1)), "extra surplus.weight"),
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
        r"\(2, 2, 2, 1\) per stage make no known SE-ResNet \(10 .* with fewer is incomplete",
    ),
    "no convolution": (with_tensor("conv1.weight", torch.zeros(())), r"'conv1.weight' has shape \(\)"),
    "no values": (with_tensor("fc.bias", torch.zeros(10, device="meta")), "plain floats fc.bias"),
    "strange stem": (with_tensor("conv1.weight", torch.zeros(8, 3, 5, 5)), "5x5: give a network with a stem"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_the_tensors_is_named_in_one_sentence(fault: str, good: Tensors) -> None:
    spoil, message = FAULTS[fault]
    tensors = spoil(good)
    with pytest.raises(CheckpointError, match=message):
        loading.load(tensors, read(tensors, DEMO))


@pytest.mark.parametrize("kind", loading.FLOATS)
def test_every_kind_of_float_becomes_float32(kind: torch.dtype, good: Tensors) -> None:
    stored = {key: value.to(kind) if value.is_floating_point() else value for key, value in good.items()}
    network = loading.load(stored, read(stored, DEMO))
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32, torch.int64}


def test_missing_step_counters_are_no_fault(good: Tensors) -> None:
    old = {key: value for key, value in good.items() if not key.endswith("num_batches_tracked")}
    loading.load(old, read(old, DEMO))


def test_a_3x3_stem_stops_the_reading_and_names_both_choices(good: Tensors) -> None:
    with pytest.raises(CheckpointError, match=r"--stem 3x3s2 or --stem 3x3s1"):
        read(good, Traits("A"))


def test_a_stem_that_does_not_fit_is_refused(good: Tensors) -> None:
    with pytest.raises(CheckpointError, match="make the stem 3x3s2 or 3x3s1, not 7x7"):
        read(good, Traits("A", "7x7"))


def test_an_unknown_variant_stops_the_reading_and_names_the_cure(good: Tensors) -> None:
    with pytest.raises(CheckpointError, match=r"say --variant A, B, C or D .* export diagnose"):
        read(good, Traits(stem="3x3s2"))


def test_a_network_without_se_is_read_as_torchvisions(good: Tensors, tmp_path: Path) -> None:
    plain = {key: value for key, value in good.items() if ".se." not in key}
    found = trained.understand(saved(plain, tmp_path), ReadOptions(traits=DEMO))
    assert (found.format, found.design.name) == ("torchvision", "resnet18")
    found.network()


def test_se_blocks_in_one_stage_alone_are_read_and_a_lost_one_is_named(good: Tensors) -> None:
    third = {key: value for key, value in good.items() if ".se." not in key or key.startswith("layer3")}
    spec = read(third, DEMO)
    assert [[bool(block.squeezed) for block in stage] for stage in spec.stages] == [[s == 2] * 2 for s in range(4)]
    loading.load(third, spec)
    lost = {key: value for key, value in third.items() if not key.startswith("layer3.1.se.")}
    with pytest.raises(CheckpointError, match=r"'layer3\.1\.se\.fc1\.weight' is missing"):
        read(lost, DEMO)


def small(layout: Format) -> SEResNetSpec:
    """A network that the format can hold, small enough to be built fast."""
    if layout.name.endswith("cifar"):
        return seresnet(20, classes=10, width=8, stem="3x3s1", stem_channels=(8,), squeeze=lambda c: 2)
    if layout.name.endswith(("senet", "vd")):
        shortcut: Shortcut = "average" if layout.name == "paddle-vd" else "1x1"
        return seresnet(18, classes=9, width=8, stem="deep", stem_channels=(4, 4, 8), shortcut=shortcut)
    squeeze = none if layout.name == "torchvision" else reduced_by(4)
    return seresnet(18, classes=9, width=8, stem_channels=(8,), squeeze=squeeze)


def file_of(layout: Format) -> Tensors:
    """The tensors of that network with the names and shapes in the format's files."""
    tensors = networks.tensors(small(layout))
    if layout.name.startswith("moskomule"):
        tensors = {key: value for key, value in tensors.items() if ".se." not in key or "bias" not in key}
    flat = layout.name.startswith(("moskomule", "paddle"))
    shaped = {
        key: value[:, :, 0, 0] if flat and ".se." in key and value.ndim == 4 else value
        for key, value in tensors.items()
    }
    turned = {k: v.T if layout.transposed and re.fullmatch(layout.transposed, k) else v for k, v in shaped.items()}
    return {layout.original(key): value for key, value in turned.items()}


@pytest.mark.parametrize("layout", [pytest.param(known, id=known.name) for known in formats.RESIDUAL])
def test_every_format_names_a_faulty_tensor_as_its_own_files_do(layout: Format, tmp_path: Path) -> None:
    whole = file_of(layout)
    trained.understand(saved(whole, tmp_path)).network()
    spoilt = layout.original("layer2.1.conv1.weight")
    faults: dict[str, Tensors] = {
        f"missing {spoilt}": {key: value for key, value in whole.items() if key != spoilt},
        f"misshapen {spoilt}": {**whole, spoilt: torch.zeros(3, 3, 3, 3)},
        "extra surplus.weight": {**whole, "surplus.weight": torch.zeros(1)},
    }
    for message, tensors in faults.items():
        with pytest.raises(CheckpointError, match=re.escape(message) + r".*(Use the file as it was trained)"):
            trained.understand(saved(tensors, tmp_path)).network()


def test_the_stride_of_pytorchcvs_networks_comes_from_the_files_name(tmp_path: Path) -> None:
    layout = formats.named("pytorchcv")
    bottlenecks = seresnet(50, classes=9, width=8, stem_channels=(8,), squeeze=reduced_by(4))
    tensors = {layout.original(key): value for key, value in networks.tensors(bottlenecks).items()}
    for name, variant in (("seresnet50b-0539.pth", "A"), ("seresnet50-0560.pth", "C")):
        torch.save(tensors, tmp_path / name)
        assert trained.understand(tmp_path / name).design.traits.variant == variant
    with pytest.raises(CheckpointError, match="say --variant"):
        trained.understand(saved(tensors, tmp_path))


class Trap:
    """An object whose unpickling would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_is_run_from_a_checkpoint(zipped: bool, good: Tensors, tmp_path: Path) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "checkpoint.pth"
    torch.save({"state_dict": good, "x": Trap(sprung)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        CheckpointError, match=r"could run code: leave them out with --skip-objects, or save its state_d"
    ):
        checkpoint.read(path)
    assert checkpoint.read(path, skip_objects=True).tensors.keys() == good.keys()
    assert not sprung.exists()


def test_no_code_is_run_from_a_paddle_file(good: Tensors, tmp_path: Path) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "net.pdparams"
    path.write_bytes(pickle.dumps({"a": good["fc.bias"].numpy(), "x": Trap(sprung)}))
    with pytest.raises(CheckpointError, match=r"holds an object of .*open, and loading it could run code"):
        checkpoint.read(path)
    assert not sprung.exists()


def test_the_plain_objects_of_training_scripts_are_no_hindrance(good: Tensors, tmp_path: Path) -> None:
    beside = {"args": argparse.Namespace(lr=0.1), "best_prec1": np.float64(77.1), "curve": np.arange(3.0)}
    assert checkpoint.read(saved({"state_dict": good, **beside}, tmp_path)).tensors.keys() == good.keys()


def test_a_file_of_python_2_is_read(good: Tensors, tmp_path: Path) -> None:
    """Its pickles hold byte strings, which are decoded as latin-1. Here: a name with an accent."""
    path = tmp_path / "checkpoint.pth"
    torch.save({"state_dict": good, "place": "caffe"}, path, _use_new_zipfile_serialization=False)
    written, old = path.read_bytes(), b"U\x05caff\xe9"  # SHORT_BINSTRING
    assert b"X\x05\x00\x00\x00caffe" in written
    path.write_bytes(written.replace(b"X\x05\x00\x00\x00caffe", old))
    assert checkpoint.read(path).tensors.keys() == good.keys()


def test_safetensors_are_read_and_damaged_ones_named(good: Tensors, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_file(good, path)
    assert trained.understand(path, ReadOptions(traits=DEMO)).design == SPEC
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="cannot be read as a safetensors file"):
        checkpoint.read(path)


@pytest.mark.parametrize("name", ["net.onnx", "net.tflite", "net.h5", "net.plan"])
def test_files_of_another_kind_are_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"is (an ONNX graph|a TensorFlow Lite|a Keras|a built engine).*: give"):
        checkpoint.read(tmp_path / name)


def test_the_class_numbers_in_a_checkpoint_are_used(good: Tensors, tmp_path: Path) -> None:
    found = checkpoint.read(saved({"state_dict": good, "class_to_idx": {"dog": 1, "cat": 0}}, tmp_path))
    assert found.classes == ("cat", "dog")
    with pytest.raises(CheckpointError, match="does not number the classes from 0"):
        checkpoint.read(saved({"state_dict": good, "class_to_idx": {"dog": 1, "cat": 7}}, tmp_path))


@pytest.mark.parametrize(
    "content", [{}, {"epoch": 1}, [1, 2], torch.zeros(3), {"model": {"n_averaged": torch.tensor(1)}}]
)
def test_a_file_without_weights_is_refused(content: object, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no weights"):
        checkpoint.read(saved(content, tmp_path))


@pytest.mark.parametrize("kept", [0, 10, 3000])
def test_a_file_cut_short_is_refused(kept: int, good: Tensors, tmp_path: Path) -> None:
    path = saved(good, tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"damaged, incomplete or of another kind|could run code"):
        checkpoint.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no file .*nowhere.pth"):
        checkpoint.read(tmp_path / "nowhere.pth")
