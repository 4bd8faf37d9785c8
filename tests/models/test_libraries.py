"""Networks that timm and torchvision define: built, recognised or rejected, and their SE blocks found."""

import dataclasses
import importlib
from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from export.graphs.graph import ServedNetwork, to_onnx
from export.proving.reference_runs import onnx_probabilities, torch_probabilities
from export.proving.samples import generate
from models import complexity, libraries, trained
from models.errors import CheckpointError
from models.evaluation import IMAGENET_MEAN, EvaluationTransform
from models.networks.design import Traits
from models.networks.se import block_name, se_modules
from models.trained import ReadOptions
from tests.support import oracles
from tests.support.reference_networks import distinct, seeded, timm

SE_NETWORKS = {  # SE blocks, and millions of parameters in them where they were counted elsewhere
    "tf_mobilenetv3_small_100": (9, 0.462),
    "mobilenetv3_large_100": (8, None),
    "efficientnet_b0": (16, None),
    "regnety_002": (13, None),
    "ghostnet_100": (7, None),
    "seresnet33ts": (10, None),
    "legacy_seresnet18": (8, None),
    "seresnet50": (16, 2.531),
    "senet154": (50, 6.629),
    "vit_tiny_patch16_224": (0, 0.0),
    "convnext_atto": (0, 0.0),
}


@pytest.fixture(autouse=True)
def importable() -> None:
    oracles.timm()


@pytest.mark.parametrize("name", SE_NETWORKS)
def test_the_se_blocks_of_timms_networks_are_found_and_nothing_else_is_taken_for_one(name: str) -> None:
    with torch.device("meta"):
        network = timm(name)()
    found = list(se_modules(network))
    count, parameters_m = SE_NETWORKS[name]
    assert len(found) == count
    assert len({block_name(name) for name, _, _ in found}) == count
    if parameters_m is not None:
        inside = sum(complexity.parameters(network.get_submodule(name)) for name, _, _ in found)
        assert round(inside / 1e6, 3) == parameters_m


@pytest.mark.parametrize(("name", "size"), [("tf_mobilenetv3_small_100", 96), ("regnety_002", 96)])
def test_a_timm_network_is_exported_with_named_se_nodes_and_answers_alike(name: str, size: int, tmp_path: Path) -> None:
    pixels = generate(size, size)
    theirs = distinct(seeded(timm(name, num_classes=20)), torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 64 - 2)
    torch.save({"arch": name, "state_dict": theirs.state_dict()}, tmp_path / "net.pth")
    read = trained.understand(tmp_path / "net.pth")  # by the name in the file
    assert (read.format, read.design.name, read.design.classes) == ("timm", name, 20)
    served = ServedNetwork(read.network(), (128.0,) * 3, (64.0,) * 3).eval()
    graph = to_onnx(served, size, size)
    assert b"blocks.0.0/se/" in graph or b"s1.b1/se/" in graph
    kinds = Counter(node.op_type for node in onnx.load_from_string(graph).graph.node)
    assert kinds["Pad"] == 0
    assert kinds["Shape"] == kinds["Gather"] == 0
    ours = torch_probabilities(served, pixels, lambda done, total: None)
    found = onnx_probabilities(graph, pixels, lambda done, total: None)
    reference = ServedNetwork(theirs, (128.0,) * 3, (64.0,) * 3).eval()
    with torch.inference_mode():
        expected = reference(torch.from_numpy(pixels)).numpy()
    for answers in (ours, found):
        assert abs(answers - expected).max() < 1e-4


def test_torchvisions_networks_are_recognised_by_their_tensors(tmp_path: Path) -> None:
    oracles.torchvision()
    from torchvision import models

    for name in ("mobilenet_v3_small", "efficientnet_b0", "regnet_y_400mf"):
        network: nn.Module = models.get_model(name, weights=None, num_classes=5)
        torch.save(network.state_dict(), tmp_path / "net.pth")
        read = trained.understand(tmp_path / "net.pth")
        assert (read.format, read.design.name, read.design.classes) == ("torchvision", name, 5)
        assert dataclasses.replace(read.transform, interpolation="bilinear") == EvaluationTransform(mean=IMAGENET_MEAN)
        assert len(list(se_modules(read.network()))) == {"m": 9, "e": 16, "r": 16}[name[0]]
    for options in (ReadOptions(arch="seresnet50"), ReadOptions(traits=Traits("B"))):
        with pytest.raises(CheckpointError, match="drop"):
            trained.understand(tmp_path / "net.pth", options)
    assert libraries.recognise({"features.1.block.0.0.weight": torch.zeros(3)}) is None


def test_preprocessing_comes_from_timms_config() -> None:
    assert libraries.transform("timm:tf_mobilenetv3_small_100") == EvaluationTransform(
        mean=(127.5,) * 3, std=(127.5,) * 3
    )
    assert libraries.transform("timm:seresnet50.ra2_in1k").interpolation == "bicubic"
    assert libraries.transform("timm:efficientnetv2_s").size == 288


def test_the_real_network_is_as_accurate_as_measured_elsewhere(shared: Path, photos: list[Path]) -> None:
    path = shared / "weights" / "mobilenetv3_small_tfhub_int8perchannel_dequant.pth"
    if not path.exists():
        pytest.skip(f"{path.name} is not in the shared data")
    read = trained.understand(path, ReadOptions(arch="timm:tf_mobilenetv3_small_100"))
    assert read.design.classes == 1000
    read.network()


REFUSED = {
    "timm:seresnet5O": r"timm has no network 'seresnet5O': did you mean .*seresnet50",
    "timm:nothing-at-all-like-it": "choose one from timm's list_models",
    "torchvision:mobilenet_v9": "torchvision has no network 'mobilenet_v9'",
    "timm:mobilenetv3_large_100": "missing|misshapen|extra",
}


@pytest.mark.parametrize("arch", REFUSED)
def test_a_network_that_a_library_has_not_or_the_file_is_not_is_refused(arch: str, tmp_path: Path) -> None:
    torch.save(timm("mobilenetv3_small_100", num_classes=5)().state_dict(), tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=REFUSED[arch]):
        trained.understand(tmp_path / "net.pth", ReadOptions(arch=arch)).network()


def test_a_library_that_is_not_installed_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(CheckpointError, match=r"timm is not installed: .*pip install timm"):
        libraries.transform("timm:seresnet50")
    assert libraries.named_by("seresnet50") is None


def test_versions_of_torch_and_torchvision_that_do_not_match_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(CheckpointError, match="the versions of torch and torchvision do not match"):
        libraries.transform("timm:seresnet50")
