"""The files that NVIDIA's Triton reads beside a bundle's versions."""

import dataclasses
import json
from pathlib import Path

import onnx
import pytest
from google.protobuf import text_format

from bundle import files
from bundle.labels import Label
from bundle.manifest import Manifest
from export import triton_files
from export.progress import Progress
from export.triton_files import CONFIG, LABELS, OURS
from export.verify import Check, verify
from server.pb.inference import model_config_pb2 as pb
from tests.conftest import REPOSITORY
from tests.support import environments
from tests.support.published import publish

_SCRIPT = """
import sys
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
config = text_format.Parse(sys.argv[1], model_config_pb2.ModelConfig())
print(json_format.MessageToJson(config, preserving_proto_field_name=True))
"""
EXPECTED = {
    "name": "demo",
    "backend": "onnxruntime",
    "default_model_filename": "model.onnx",
    "max_batch_size": 32,
    "version_policy": {"latest": {"num_versions": 1}},
    "dynamic_batching": {},
    "input": [{"name": "pixels", "data_type": "TYPE_UINT8", "dims": ["64", "64", "3"]}],
    "output": [
        {"name": "probabilities", "data_type": "TYPE_FP32", "dims": ["200"], "label_filename": "labels.txt"},
    ],
}


@pytest.fixture
def root(demo: Path, tmp_path: Path) -> Path:
    publish(demo, tmp_path, 1)
    assert triton_files.write(tmp_path / "demo") == ()
    return tmp_path / "demo"


def parsed(folder: Path) -> pb.ModelConfig:
    return text_format.Parse((folder / CONFIG).read_text(), pb.ModelConfig())


def changed(version: Path, classes: int, height: int) -> None:
    """Another network, as far as its manifest says."""
    manifest = Manifest.from_json((version / "manifest.json").read_text())
    labels = dataclasses.replace(manifest.labels, classes=classes)
    size = dataclasses.replace(manifest.preprocessing, height=height)
    told = dataclasses.replace(manifest, labels=labels, preprocessing=size)
    (version / "manifest.json").write_text(told.to_json())


def checks(folder: Path) -> dict[str, Check]:
    found = {check.what: check for check in verify(folder, Progress()).checks}
    return {what: check for what, check in found.items() if what.endswith("Triton")}


def test_the_configuration_is_a_model_config(root: Path) -> None:
    config = parsed(root)
    assert (config.name, config.backend, config.max_batch_size) == ("demo", "onnxruntime", 32)
    assert config.version_policy.latest.num_versions == 1
    assert config.HasField("dynamic_batching")
    (taken,), (given,) = config.input, config.output
    assert (taken.name, taken.data_type, list(taken.dims)) == ("pixels", pb.TYPE_UINT8, [64, 64, 3])
    assert (given.name, given.data_type, list(given.dims)) == ("probabilities", pb.TYPE_FP32, [200])


def test_tritons_own_client_reads_the_same(root: Path) -> None:
    assert json.loads(environments.run("client", "-c", _SCRIPT, (root / CONFIG).read_text())) == EXPECTED


def test_a_field_that_triton_does_not_know_would_be_found(root: Path) -> None:
    text = (root / CONFIG).read_text().replace("max_batch_size", "largest_batch")
    with pytest.raises(text_format.ParseError):
        text_format.Parse(text, pb.ModelConfig())


def test_the_named_graph_has_the_tensors_of_the_configuration(root: Path) -> None:
    config = parsed(root)
    graph = onnx.load(root / "1" / config.default_model_filename).graph
    for tensor, told in ((graph.input[0], config.input[0]), (graph.output[0], config.output[0])):
        batch, *dims = (dim.dim_param or dim.dim_value for dim in tensor.type.tensor_type.shape.dim)
        assert (tensor.name, batch, dims) == (told.name, "batch", list(told.dims))
    assert (root / config.output[0].label_filename).is_file()


def test_each_label_has_a_line_in_the_order_of_the_outputs(root: Path) -> None:
    bundle = files.read(root / "1")
    assert (root / LABELS).read_text().split("\n") == [*(label.name for label in bundle.labels), ""]


def test_a_label_is_one_line_whatever_it_has(root: Path) -> None:
    table = [Label("a", "one\ntwo\r\nthree"), Label("b", "vier\x0bé:ß"), Label("c", "#")]
    assert triton_files.label_lines(table) == "one two three\nvier é:ß\n#\n"


def test_the_files_of_the_demo_are_those_that_the_export_writes() -> None:
    folder = REPOSITORY / "model_repository" / "demo"
    bundle = files.read(files.newest(folder))
    assert (folder / CONFIG).read_text() == triton_files.config(bundle.manifest)
    assert (folder / LABELS).read_text() == triton_files.label_lines(bundle.labels)


def test_a_new_version_is_described_and_nothing_else_is_left(demo: Path, root: Path) -> None:
    changed(publish(demo, root.parent, 2), classes=200, height=64)
    assert triton_files.write(root) == ()
    assert sorted(path.name for path in root.iterdir()) == ["1", "2", CONFIG, LABELS]


def test_another_size_or_number_of_classes_is_a_warning_that_says_what_happens(demo: Path, root: Path) -> None:
    changed(publish(demo, root.parent, 2), classes=10, height=32)
    (warning,) = triton_files.write(root)
    assert "Version 1 of 'demo' has 200 classes, 64x64 pixels and the graph model.onnx" in warning
    assert "version 2 has 10 classes, 32x64 pixels" in warning
    assert "it serves version 2, and cannot serve version 1" in warning
    config = parsed(root)
    assert (list(config.input[0].dims), list(config.output[0].dims)) == ([32, 64, 3], [10])


def test_a_version_that_cannot_be_read_is_no_matter(demo: Path, root: Path) -> None:
    publish(demo, root.parent, 2)
    (root / "1" / "manifest.json").write_text("{")
    assert triton_files.write(root) == ()


def test_a_configuration_changed_by_hand_is_kept(root: Path) -> None:
    own = (root / CONFIG).read_text().removeprefix(OURS) + "instance_group [ { count: 2 kind: KIND_GPU } ]\n"
    (root / CONFIG).write_text(own)
    (root / LABELS).unlink()
    (warning,) = triton_files.write(root)
    assert "changed by hand and is kept: check that it describes version 1" in warning
    assert (root / CONFIG).read_text() == own
    assert (root / LABELS).is_file()
    assert checks(root)[f"{CONFIG} for Triton"] == Check(f"{CONFIG} for Triton", True, "changed by hand: not compared")


def test_a_folder_that_takes_no_file_leaves_the_bundle_complete(root: Path) -> None:
    (root / CONFIG).unlink()
    (root / CONFIG / "in the way").mkdir(parents=True)
    (warning,) = triton_files.write(root)
    assert "cannot be written" in warning
    assert "The bundle is complete without them." in warning
    assert files.read(root / "1").manifest.name == "demo"
    assert not list(root.glob(".tmp-*"))


def test_verify_says_that_both_files_describe_the_version(root: Path) -> None:
    assert [(check.passed, check.found) for check in checks(root).values()] == [
        (True, "describes version 1"),
        (True, "200 lines"),
    ]


@pytest.mark.parametrize("name", [CONFIG, LABELS])
def test_verify_finds_a_file_that_is_another(name: str, root: Path) -> None:
    (root / name).write_text((root / name).read_text() + "\n")
    assert _failed(root) == [(f"{name} for Triton", f"{name} does not describe this version")]


@pytest.mark.parametrize("name", [CONFIG, LABELS])
def test_verify_finds_that_one_of_the_files_is_missing(name: str, root: Path) -> None:
    (root / name).unlink()
    assert _failed(root) == [(f"{name} for Triton", f"{name} cannot be read (No such file or directory)")]


def test_verify_compares_only_the_version_that_is_described(demo: Path, root: Path) -> None:
    changed(publish(demo, root.parent, 2), classes=10, height=32)
    assert _failed(root) == [(f"{CONFIG} for Triton", f"{CONFIG} does not describe this version")]
    triton_files.write(root)
    assert checks(root / "1") == {}
    assert _failed(root) == []


def test_verify_needs_no_files_for_triton(root: Path) -> None:
    (root / CONFIG).unlink()
    (root / LABELS).unlink()
    assert checks(root) == {}


def _failed(root: Path) -> list[tuple[str, str]]:
    """What failed of the files for Triton, and why, without the cure."""
    return [(what, check.found.split(":")[0]) for what, check in checks(root).items() if not check.passed]
