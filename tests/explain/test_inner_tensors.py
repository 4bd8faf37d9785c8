"""The inner tensors that a manifest names are those of the network: compared with hooks on the torch modules."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bundle import files
from bundle.errors import BundleError
from bundle.files import Bundle
from bundle.manifest import Architecture, Graph, SEBlockRow
from explain.class_map import class_map
from explain.explanation import Region
from explain.network import ExplainedNetwork
from export.graphs import graph, inner_tensors
from export.graphs.graph import ServedNetwork
from export.proving.samples import generate
from models import architectures
from models.networks.se import block_name, se_modules
from tests.support import oracles

Build = Callable[[], nn.Module]

_TOLERANCE = 1e-4  # of a gate, and of the largest value of other tensors
_MEAN, _STD = (120.0, 115.0, 105.0), (60.0, 60.0, 60.0)


def _seresnet(place: Any) -> Build:
    def build() -> nn.Module:
        spec = architectures.seresnet(
            18, classes=10, width=8, stem_channels=(8,), squeeze=lambda channels: 4, se_place=place
        )
        return spec.build()

    return build


def _timm(name: str) -> Build:
    return lambda: oracles.timm().create_model(name, pretrained=False)


QUICK: dict[str, Build] = {
    "seresnet18 standard": _seresnet("standard"),
    "seresnet18 post": _seresnet("post"),
    "timm:mobilenetv3_small_050": _timm("mobilenetv3_small_050"),
}
SLOW: dict[str, Build] = {
    "seresnet18 pre": _seresnet("pre"),
    "seresnet18 identity": _seresnet("identity"),
    **{name: lambda design=design: design().build() for name, design in architectures.NETWORKS.items()},  # type: ignore[misc]
    "timm:efficientnet_b0": _timm("efficientnet_b0"),
    "timm:regnety_002": _timm("regnety_002"),
}
WITHOUT_HEAD = {"sevgg16", "timm:mobilenetv3_small_050"}
SIZES = {"sevgg16": 224, "seinceptionresnetv2": 139}


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_gates_and_features_are_those_of_the_network(name: str, demo: Path, tmp_path: Path) -> None:
    network = _calibrated({**QUICK, **SLOW}[name], SIZES.get(name, 64))
    size = SIZES.get(name, 64)
    served = ServedNetwork(network, _MEAN, _STD).eval()
    model = graph.to_onnx(served, size, size)
    explained = ExplainedNetwork(_bundle(demo, tmp_path, network, model), threads=2)
    pixels = generate(size, size)[:4]
    with torch.inference_mode(), _Hooks(network) as seen:
        logits = network(_normalised(pixels)).numpy()
    inside = explained.run(pixels)

    assert len(explained.blocks) == len(seen.se) > 0
    for block, gates in zip(explained.blocks, inside.gates, strict=True):
        expected, known = _gates(*seen.se[block.name])
        assert known.mean() > 0.5
        assert np.abs(gates - expected)[known].max() <= _TOLERANCE
        assert np.abs(gates[:, ::-1] - expected)[known].max() > _TOLERANCE  # those of other channels would show
    assert (inside.features is None) == (name in WITHOUT_HEAD)
    if inside.features is not None:
        assert explained.weight is not None and explained.bias is not None
        _assert_close(inside.features.mean((2, 3)), seen.embedding)
        for number, index in ((0, 0), (1, 3), (3, logits.shape[1] - 1)):
            found = class_map(inside.features[number], explained.weight[index], Region(0, 0, 1, 1))
            logit = np.mean(found.values) + explained.bias[index]
            assert abs(logit - logits[number, index]) <= _TOLERANCE * max(1, np.abs(logits).max())


def test_the_demos_manifest_names_what_its_graph_has(demo: Path) -> None:
    bundle = files.read(demo)
    model = bundle.graph("fp32")[1].read_bytes()
    blocks = bundle.manifest.architecture.se_blocks
    assert [block.gate for block in blocks] == inner_tensors.gates(model, [block.name for block in blocks])
    assert bundle.manifest.head == inner_tensors.head(model)


def test_an_older_bundle_is_refused_with_the_cure(demo: Path) -> None:
    with pytest.raises(BundleError, match="export it again"):
        ExplainedNetwork(_without_names(files.read(demo)), threads=1)


def test_names_that_the_graph_does_not_have_are_refused(demo: Path) -> None:
    bundle = files.read(demo)
    head = bundle.manifest.head
    assert head
    for wrong in (dataclasses.replace(head, features="nowhere"), dataclasses.replace(head, weight="nowhere")):
        strange = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, head=wrong))
        with pytest.raises(BundleError, match="does not have: export the bundle again"):
            ExplainedNetwork(strange, threads=1)


def _without_names(bundle: Bundle) -> Bundle:
    architecture = bundle.manifest.architecture
    blocks = tuple(dataclasses.replace(block, gate=None) for block in architecture.se_blocks)
    architecture = dataclasses.replace(architecture, se_blocks=blocks)
    return dataclasses.replace(
        bundle, manifest=dataclasses.replace(bundle.manifest, architecture=architecture, head=None)
    )


def _bundle(demo: Path, folder: Path, network: nn.Module, model: bytes) -> Bundle:
    """The demo's bundle with this network's graph in its place."""
    (folder / "model.onnx").write_bytes(model)
    rows = [SEBlockRow(block_name(name), channels, squeezed) for name, channels, squeezed in se_modules(network)]
    gates = inner_tensors.gates(model, [row.name for row in rows])
    blocks = tuple(dataclasses.replace(row, gate=gate) for row, gate in zip(rows, gates, strict=True))
    bundle = files.read(demo)
    manifest = dataclasses.replace(
        bundle.manifest,
        architecture=Architecture("a test's", None, None, 0, 0, blocks),
        graphs=(Graph("model.onnx", hashlib.sha256(model).hexdigest(), len(model), "fp32", graph.OPSET),),
        head=inner_tensors.head(model),
    )
    return dataclasses.replace(bundle, path=folder, manifest=manifest)


class _Hooks:
    """What enters and leaves each SE module, by the block's name, and what enters the last linear layer."""

    def __init__(self, network: nn.Module) -> None:
        self.se: dict[str, tuple[Any, Any]] = {}
        self.embedding: Any = None
        self._handles = [
            network.get_submodule(name).register_forward_hook(self._of(block_name(name)))
            for name, _, _ in se_modules(network)
        ]
        last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        self._handles.append(last.register_forward_hook(self._enters))

    def __enter__(self) -> "_Hooks":
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _of(self, block: str) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
        def keep(_: nn.Module, entered: tuple[Tensor], left: Tensor) -> None:
            self.se[block] = entered[0].clone().numpy(), left.clone().numpy()

        return keep

    def _enters(self, _: nn.Module, entered: tuple[Tensor], left: Tensor) -> None:
        self.embedding = entered[0].clone().numpy()


def _calibrated(build: Build, size: int) -> nn.Module:
    """Random weights whose BatchNorm statistics are those of the images, so that no layer vanishes or overflows."""
    torch.manual_seed(0)
    network = build()
    with torch.inference_mode():
        network.train()
        for _ in range(20):  # BatchNorm remembers a tenth of each
            network(_normalised(generate(size, size)[:8]))
    return network.eval()


def _normalised(pixels: Any) -> Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _STD))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - mean) / std


def _gates(entered: Any, left: Any) -> tuple[Any, Any]:
    """What an SE module multiplied each channel by, (n, channels), from its input and its output at the place where the
    input is largest; and of which channels that place is large enough to tell.
    """
    entered, left = (each.reshape(*each.shape[:2], -1) for each in (entered, left))
    places = np.abs(entered).argmax(-1)[..., np.newaxis]
    strongest = np.take_along_axis(entered, places, -1)[..., 0]
    known = np.abs(strongest) > 1e-3 * np.abs(entered).max()
    return np.take_along_axis(left, places, -1)[..., 0] / np.where(known, strongest, 1), known


def _assert_close(found: Any, expected: Any) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= _TOLERANCE * np.abs(expected).max()
