"""`python -m export features`: the maps of a network as ONNX, compared with torch, or a reason and no file."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from export import commands
from export.errors import ExportError
from export.features import maps_graph
from export.features.backbone import Backbone
from models import loading
from models.networks.sevgg import SE_VGG_16
from models.tensors import Tensors
from models.weightless import weightless
from tests.export.features.conftest import SHEET, SPEC, backbone
from tests.support import networks

TOLERANCE = 1e-4  # of a map's root mean square; the largest error seen here is 1e-5
ODD = (3, 3, 97, 75)

Written = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Written:
    """Writes the maps of a network with these tensors, and gives the file's path."""

    def write(tensors: Tensors, *options: str) -> Path:
        torch.save(tensors, tmp_path / "net.pth")
        assert commands.run(["features", str(tmp_path / "net.pth"), "-o", str(tmp_path / "net.onnx"), *options]) == 0
        return tmp_path / "net.onnx"

    return write


def maps(model: Path | bytes, images: Tensor) -> dict[str, NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    return dict(zip(outputs, session.run(outputs, {"images": images.numpy()}), strict=True))


def stages(network: nn.Module, images: Tensor) -> dict[str, NDArray[np.float32]]:
    """What the modules layer1, layer2 … give while the whole network answers."""
    found: dict[str, NDArray[np.float32]] = {}
    for name, module in network.named_children():
        if name.startswith("layer"):
            output = f"c{int(name[-1]) + 1}"
            module.register_forward_hook(lambda _, __, given, output=output: found.update({output: given.numpy()}))
    with torch.inference_mode():
        network(images)
    return found


def assert_alike(found: dict[str, NDArray[np.float32]], expected: dict[str, NDArray[np.float32]]) -> None:
    assert found.keys() == expected.keys()
    for name, one in found.items():
        assert one.shape == expected[name].shape, name
        assert np.abs(one - expected[name]).max() < TOLERANCE * np.sqrt(np.square(expected[name]).mean()), name


@pytest.mark.parametrize("shape", [(1, 3, 32, 33), (2, 3, 64, 96), ODD, (1, 3, 224, 160)])
def test_the_maps_are_those_of_the_stages_at_any_number_and_size_of_images(
    honest: bytes, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(3)
    images = torch.randn(shape)
    network = loading.load(networks.tensors(SPEC), SPEC)
    assert_alike(maps(honest, images), stages(network, images))


def test_the_graph_is_plain_open_in_size_and_equal_for_equal_networks(honest: bytes) -> None:
    model = onnx.load_from_string(honest)
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes["images"] == ["batch", 3, "height", "width"]
    assert shapes["c5"] == ["batch", 64, "c5_rows", "c5_columns"]
    assert list(shapes) == ["images", "c2", "c3", "c4", "c5"]
    kinds = {node.op_type for node in model.graph.node}
    assert kinds == {"Conv", "Relu", "MaxPool", "ReduceMean", "Sigmoid", "Mul", "Add"}
    assert not any("fc." in tensor.name and ".se." not in tensor.name for tensor in model.graph.initializer)
    assert "layer3.0/se/Sigmoid" in {node.name for node in model.graph.node}
    assert maps_graph.to_onnx(backbone(), "seresnet10", SHEET.metadata()) == honest


def test_chosen_stages_of_a_caffe_network_take_rgb_and_round_up_as_it_does(
    write: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    """Variant B pools with windows that cross the edge, and its channels are blue, green, red."""
    spec = dataclasses.replace(SPEC, variant="B")
    options = ["--variant", "B", "--bgr", "--mean", "123,117,104", "--std", "1,1,1", "--scale", "255"]
    file = write(networks.tensors(spec), "--stages", "3,2", *options)
    told = {row.key: row.value for row in onnx.load(file).metadata_props}
    assert (told["mean_0_255"], told["std_0_255"], told["channel_order"]) == ("123,117,104", "1,1,1", "RGB")
    assert told["mean_0_1"].startswith("0.4823529,")
    assert (told["network"], told["strides"]) == ("seresnet10", "c2=4,c3=8")
    printed = capsys.readouterr()
    assert {"mean_0_255   123,117,104", "c3           16 channels, stride 8"} <= set(
        map(str.strip, printed.out.splitlines())
    )
    assert "Strides differ" not in printed.err
    assert commands.run(["inspect", str(file)]) == 0
    assert "macs" not in capsys.readouterr().out  # they depend on the size
    images = torch.randn(ODD) * 50
    expected = stages(loading.load(networks.tensors(spec), spec), images.flip(1))
    assert_alike(maps(file, images), {name: expected[name] for name in ("c2", "c3")})


def test_the_strides_of_a_network_for_small_images_are_measured_and_told(
    write: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(
        networks.tensors(networks.spec(10, width=8, classes=10, stem="3x3s1")), "--stem", "3x3s1", "--stages", "2,3"
    )
    told = {row.key: row.value for row in onnx.load(file).metadata_props}
    assert told["strides"] == "c2=1,c3=2"
    assert "Strides differ from those of a network for ImageNet: c2 1 (not 4), c3 2 (not 8)." in capsys.readouterr().err
    assert [one.shape[2:] for one in maps(file, torch.randn(1, 3, 32, 48)).values()] == [(32, 48), (16, 24)]


def one_weight(model: onnx.ModelProto) -> None:
    """One of the 9216 weights of one convolution, by a tenth of their mean."""
    node = next(node for node in model.graph.node if node.name == "layer3.0.bn2/Conv")
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    values = numpy_helper.to_array(tensor).copy()
    values[0, 0, 1, 1] += 0.1 * np.abs(values).mean()
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def another_edge(model: onnx.ModelProto) -> None:
    """The stem's pooling rounds otherwise, which shows only at odd sizes."""
    node = next(node for node in model.graph.node if node.op_type == "MaxPool")
    next(item for item in node.attribute if item.name == "pads").ints[:] = [1, 1, 0, 0]


def a_gate(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.name == "layer4.0/se/Sigmoid").op_type = "Relu"


def swapped(model: onnx.ModelProto) -> None:
    """Two maps have each other's name."""
    names = {"c2": "c3", "c3": "c2"}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (one_weight, r"c4 differs from the torch network's by .* \(allowed 0.001\)"),
        (another_edge, r"c2 is \(1, 8, 48, 82\) where the torch network's is \(1, 8, 49, 83\)"),
        (a_gate, "c5 differs"),
        (swapped, r"c2 is \(2, 16, 28, 28\) where the torch network's is \(2, 8, 56, 56\)"),
    ],
)
def test_a_graph_with_a_fault_is_not_written_and_an_older_file_stays(
    spoil: Callable[[onnx.ModelProto], None],
    told: str,
    honest: bytes,
    write: Written,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = onnx.load_from_string(honest)
    spoil(model)
    monkeypatch.setattr(maps_graph, "to_onnx", lambda *_: model.SerializeToString())
    (tmp_path / "net.onnx").write_bytes(b"older")
    with pytest.raises(ExportError, match=told):
        write(networks.tensors(SPEC))
    assert (tmp_path / "net.onnx").read_bytes() == b"older"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.onnx", "net.pth"]
    monkeypatch.setattr(maps_graph, "to_onnx", lambda *_: honest)
    assert write(networks.tensors(SPEC)).read_bytes() == honest


def zeroed(tensors: Tensors) -> Tensors:
    return {
        key: torch.zeros_like(value) if key.startswith("layer4.0.bn") or "downsample" in key else value
        for key, value in tensors.items()
    }


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--stages", "2,6"], "A seresnet10 has no stage 6, only 2, 3, 4, 5: name some of these with --stages"),
        (["-o", "."], r"'\.' is a folder: give the name of a file, e\.g\. -o seresnet10\.onnx"),
        (["--mean", "0.5,0.5,0.5"], "Give --mean and --std together"),
        (["--pretrained", "timm:seresnet50"], "Give either a checkpoint or --pretrained"),
    ],
)
def test_what_cannot_be_written_is_said_with_the_cure(options: list[str], told: str, write: Written) -> None:
    with pytest.raises(ExportError, match=told):
        write(networks.tensors(SPEC), *options)


def test_a_network_that_gives_nothing_is_refused_because_it_proves_nothing(write: Written, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="map c5 of the seresnet10 is zero or not finite"):
        write(zeroed(networks.tensors(SPEC)))
    assert not (tmp_path / "net.onnx").exists()


def test_a_file_that_cannot_be_written_is_an_error(
    honest: bytes, write: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps_graph, "to_onnx", lambda *_: honest)
    with pytest.raises(ExportError, match=r"cannot be written .*give another file with -o"):
        write(networks.tensors(SPEC), "-o", str(tmp_path / "net.pth" / "net.onnx"))


@pytest.mark.parametrize("text", ["", "1,2", "c2", "2;3"])
def test_a_list_that_names_no_stages_is_wrong_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        commands.run(["features", "net.pth", "--stages", text])
    assert "is not a list of stages from 2 on, e.g. 2,3,4,5" in capsys.readouterr().err


def test_networks_without_stages_are_refused_with_those_that_have_some() -> None:
    with pytest.raises(ExportError, match=r"stages of a sevgg16 are not known.*SE-ResNet.*--arch timm:NAME.*convert"):
        Backbone(weightless(SE_VGG_16.design().build), "sevgg16")
