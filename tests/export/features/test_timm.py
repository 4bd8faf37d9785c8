"""The maps of timm's networks: those of its own `features_only`, at sizes that its padding depends on."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export import commands
from export.errors import ExportError
from export.features import map_parity, maps_graph
from export.features.backbone import Backbone
from tests.support import oracles
from tests.support.reference_networks import seeded, timm


@pytest.fixture(autouse=True)
def importable() -> None:
    oracles.timm()


def test_a_network_that_pads_as_tensorflow_does_gives_the_maps_of_features_only(tmp_path: Path) -> None:
    name = "tf_mobilenetv3_small_minimal_100"
    theirs = seeded(timm(name))
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    options = ["--arch", f"timm:{name}", "--stages", "2,3", "-o", str(tmp_path / "net.onnx")]
    assert commands.run(["features", str(tmp_path / "net.pth"), *options]) == 0
    model = onnx.load(tmp_path / "net.onnx")
    assert not {"Pad", "Shape", "Gather"} & {node.op_type for node in model.graph.node}
    assert {row.key: row.value for row in model.metadata_props}["strides"] == "c2=4,c3=8"
    oracle = timm(name, features_only=True, out_indices=(1, 2))().eval()
    missing, _ = oracle.load_state_dict(theirs.state_dict(), strict=False)
    assert not missing
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    for size in ((64, 96), (97, 75), (98, 119)):
        images = torch.randn(2, 3, *size)
        with torch.inference_mode():
            expected = [one.numpy() for one in oracle(images)]
        for ours, one in zip(session.run(None, {"images": images.numpy()}), expected, strict=True):
            assert ours.shape == one.shape
            assert np.abs(ours - one).max() < 1e-4 * np.sqrt(np.square(one).mean())


def test_a_transformer_with_one_stride_has_no_stages() -> None:
    with torch.device("meta"), pytest.raises(ExportError, match=r"timm's vit_tiny.* have the stride 16"):
        Backbone(timm("vit_tiny_patch16_224")(), "vit_tiny_patch16_224")


def test_a_network_for_one_size_only_is_refused() -> None:
    with torch.device("meta"):
        backbone = Backbone(timm("swin_tiny_patch4_window7_224")(), "swin").eval()
    with pytest.raises(ExportError, match="A swin cannot take images of 256x320 pixels"):
        map_parity.torch_maps(backbone, "swin", [torch.zeros(1, 3, 256, 320, device="meta")])


def test_a_network_whose_layers_pad_in_other_ways_by_the_size_is_refused_at_once() -> None:
    with torch.device("meta"):
        backbone = Backbone(timm("dm_nfnet_f0")(), "dm_nfnet_f0").eval()
    with pytest.raises(ExportError, match=r"dm_nfnet_f0 has layers \(ScaledStdConv2dSame\)"):
        maps_graph.to_onnx(backbone, "dm_nfnet_f0", {})
