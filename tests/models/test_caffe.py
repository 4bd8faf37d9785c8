"""The original Caffe networks answer as in OpenCV, and broken files are rejected."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bundle.images import to_picture
from bundle.manifest import Preprocessing
from export.graphs.graph import ServedNetwork
from models import trained
from models.architectures import reduced_by, senet154, seresnet
from models.errors import CheckpointError
from models.formats.caffe import TRANSFORM
from models.networks.seresnet import SEResNetSpec
from models.openers import caffemodel
from models.openers.caffemodel import NET
from tests.support import caffe
from tests.support.reference_networks import distinct

SIZE = 96
NETWORKS: dict[str, Callable[[], SEResNetSpec]] = {
    "seresnet50": lambda: seresnet(50, classes=20, width=16, stem_channels=(16,), variant="B", squeeze=reduced_by(4)),
    "seresnext50_32x2d": lambda: seresnet(50, classes=20, width=32, groups=32, stem_channels=(16,), variant="D"),
    "senet28": lambda: dataclasses.replace(full := senet154(classes=20), stages=tuple(of[:2] for of in full.stages)),
    "senet154": lambda: senet154(classes=20),
}
SLOW = "senet154"
"""Has the stem, the units and the shortcuts of SENet-28, more of them."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == SLOW else ()) for name in NETWORKS]
)
def test_the_original_networks_answer_as_opencv_reads_them(name: str, photos: list[Path], tmp_path: Path) -> None:
    torch.manual_seed(1709)
    spec = NETWORKS[name]()
    preprocessing = Preprocessing(SIZE, SIZE, "short_side", 110, "bilinear", TRANSFORM.mean, TRANSFORM.std)
    pixels = torch.from_numpy(
        np.stack([to_picture(path.read_bytes(), preprocessing, 50_000_000) for path in photos[::25]])
    )
    images = (pixels.permute(0, 3, 1, 2).float() - torch.tensor(TRANSFORM.mean).view(1, 3, 1, 1)).flip(1)  # blue first
    tensors = distinct(spec.build(), images).state_dict()
    path = caffe.write_residual(spec, tensors, SIZE, tmp_path)
    expected = torch.from_numpy(caffe.opencv_probabilities(path, images.numpy())).clamp_min(1e-7).log()

    read = trained.understand(path)
    assert (read.design, read.labels, read.transform.bgr) == (spec, "imagenet-1k-devkit", True)
    assert read.format == ("caffe-senet" if name.startswith("senet") else "caffe")
    network = read.network()

    def answers(of: torch.nn.Module, photos: torch.Tensor, bgr: bool = True) -> torch.Tensor:
        served = ServedNetwork(of, read.transform.mean, read.transform.std, bgr).eval()
        with torch.inference_mode():
            return served(photos).clamp_min(1e-7).log()

    other = {"B": "D", "D": "A"}[spec.variant]
    moved = read.with_traits(dataclasses.replace(read.design.traits, variant=other)).network()  # type: ignore[arg-type]
    faults = {
        "red for blue": answers(network, pixels, bgr=False),
        "another photo": answers(network, pixels.roll(1, 0)),
        f"variant {other}": answers(moved, pixels),
    }
    for fault, found in faults.items():
        assert (found - expected).abs().max() >= 0.1, fault
    assert (answers(network, pixels) - expected).abs().max() <= 1e-3


def layer(name: str, kind: str, *shapes: tuple[int, ...], **more: object) -> bytes:
    net = NET()
    one = net.layer.add(name=name, type=kind, **more)
    for shape in shapes:
        one.blobs.add(shape={"dim": shape}, data=np.ones(shape, "<f4").tobytes())
    return net.SerializeToString()


def read(content: bytes, folder: Path) -> dict[str, torch.Tensor]:
    path = folder / "net.caffemodel"
    path.write_bytes(content)
    return caffemodel.content(path)["net"]  # type: ignore[return-value]


def test_a_batch_norm_without_a_factor_counts_as_zero(tmp_path: Path) -> None:
    """As Caffe itself does: it divides by nothing."""
    net = NET()
    one = net.layer.add(name="a/bn", type="BatchNorm")
    for values in ([4.0, 8.0], [2.0, 6.0], [0.0]):
        one.blobs.add(shape={"dim": [len(values)]}, data=np.array(values, "<f4").tobytes())
    assert read(net.SerializeToString(), tmp_path)["a/bn.running_var"].tolist() == [0, 0]
    one.blobs[2].data = np.array([2.0], "<f4").tobytes()
    assert read(net.SerializeToString(), tmp_path)["a/bn.running_var"].tolist() == [1, 3]


def test_blobs_of_doubles_and_of_the_old_shape_are_read(tmp_path: Path) -> None:
    net = NET()
    one = net.layer.add(name="classifier", type="InnerProduct")
    one.blobs.add(num=1, channels=1, height=2, width=3, double_data=np.arange(6, dtype="<f8").tobytes())
    assert read(net.SerializeToString(), tmp_path)["classifier.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]


BROKEN: dict[str, tuple[bytes, str]] = {
    "cut short": (layer("a", "Convolution", (8, 3, 3, 3))[:-100], "is not a Caffe model, or is damaged"),
    "of another kind": (b"\x89PNG\r\n\x1a\n" * 20, "is not a Caffe model, or is damaged"),
    "empty": (b"", "holds no weights: give the .caffemodel"),
    "of the first version": (b"\x12\x03abc", "Caffe's first version"),
    "with a lying shape": (
        layer("a", "Convolution", (2, 2)).replace(b"\x0a\x02\x02\x02", b"\x0a\x02\x7f\x7f"),
        "a blob of layer a has 4 numbers and the shape",
    ),
    "a BatchNorm short of a blob": (layer("a/bn", "BatchNorm", (2,), (2,)), "layer a/bn has 2 blobs instead of 3"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_file_is_refused_in_a_sentence(fault: str, tmp_path: Path) -> None:
    content, message = BROKEN[fault]
    with pytest.raises(CheckpointError, match=message):
        read(content, tmp_path)


@pytest.mark.parametrize("lost", ["conv3_1_1x1_reduce", "conv3_1_1x1_down", "conv2_2_3x3/bn", "classifier"])
def test_a_missing_layer_is_named_as_the_file_names_it(lost: str, tmp_path: Path) -> None:
    spec = NETWORKS["seresnet50"]()
    path = caffe.write_residual(spec, spec.build().state_dict(), SIZE, tmp_path)
    net = NET.FromString(path.read_bytes())
    kept = [one for one in net.layer if one.name != lost]
    path.write_bytes(NET(layer=kept).SerializeToString())
    with pytest.raises(CheckpointError, match=lost):
        trained.understand(path).network()
