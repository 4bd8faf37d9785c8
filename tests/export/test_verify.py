"""Verify finds and names every fault of a bundle; inspect lists its facts."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch

from bundle import files
from bundle.errors import BundleError
from bundle.manifest import Manifest
from export import inspection
from export.graphs import int8
from export.options import ConvertOptions
from export.progress import Progress
from export.verify import Verification, verify
from models.errors import CheckpointError
from tests.support import networks
from tests.support.fakes import with_graphs


@pytest.fixture
def copy(demo: Path, tmp_path: Path) -> Path:
    shutil.copytree(demo, tmp_path / "demo" / "1")
    return tmp_path / "demo" / "1"


def told(folder: Path, **changes: object) -> None:
    """The manifest with changed fields."""
    manifest = Manifest.from_json((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(dataclasses.replace(manifest, **changes).to_json())  # type: ignore[arg-type]


def with_graph(folder: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change the graph, and its hash in the manifest: only the content shows the difference."""
    model = onnx.load(folder / "model.onnx")
    change(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    manifest = Manifest.from_json((folder / "manifest.json").read_text())
    sha256 = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    told(folder, graphs=(dataclasses.replace(manifest.graphs[0], sha256=sha256),))


@pytest.mark.parametrize(
    ("seven_bits", "told_of_it", "passed", "found"),
    [
        (True, 64, True, "up to 64: exact on every CPU"),
        (False, 64, False, "The weights reach 127, but the manifest says 64"),
        (False, None, True, "up to 127: exact only on x86 with VNNI and on ARM; export the bundle again"),
    ],
)
def test_what_int8_weights_need_of_a_cpu_is_told(
    seven_bits: bool, told_of_it: int | None, passed: bool, found: str, demo: Path, tmp_path: Path
) -> None:
    bundle = files.read(demo)
    rules = dataclasses.replace(int8.FOR_CPUS, seven_bits=seven_bits)
    model = bundle.graph("fp32")[1].read_bytes()
    made = int8.to_int8(model, bundle.probe.pixels[:8], lambda done, total: None, rules)
    folder = with_graphs(tmp_path, bundle, {"int8": made})
    first, eight_bit = Manifest.from_json((folder / "manifest.json").read_text()).graphs
    told(folder, graphs=(first, dataclasses.replace(eight_bit, largest_weight=told_of_it)))
    checks = {check.what: check for check in verify(folder, Progress()).checks}
    check = checks["weights of model.int8.onnx"]
    assert check.passed is passed
    assert check.found.startswith(found)


def a_weight(model: onnx.ModelProto) -> None:
    weights = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    array = onnx.numpy_helper.to_array(weights).copy()
    array[0] += 0.5
    weights.CopyFrom(onnx.numpy_helper.from_array(array, weights.name))


def se_nodes(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.name = node.name.replace("layer2.0/se/", "layer2.0/gate/")


def output(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 100


def one_label_less(folder: Path) -> None:
    text = "\n".join((folder / "labels.tsv").read_text().split("\n")[:-2]) + "\n"
    (folder / "labels.tsv").write_text(text)
    manifest = Manifest.from_json((folder / "manifest.json").read_text())
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    told(folder, labels=dataclasses.replace(manifest.labels, sha256=sha256))


def with_gates(folder: Path, name: Callable[[str | None], str | None]) -> None:
    architecture = Manifest.from_json((folder / "manifest.json").read_text()).architecture
    blocks = tuple(dataclasses.replace(block, gate=name(block.gate)) for block in architecture.se_blocks)
    told(folder, architecture=dataclasses.replace(architecture, se_blocks=blocks))


FAULTS: dict[str, tuple[Callable[[Path], object], dict[str, str]]] = {
    "a changed weight": (
        lambda folder: with_graph(folder, a_weight),
        {"parity of model.onnx": "allowed are 0.0001 and 0.001"},
    ),
    "a changed byte": (
        lambda folder: (folder / "probe.npz").write_bytes((folder / "probe.npz").read_bytes() + b"x"),
        {"sha256 of probe.npz": "but the manifest says"},
    ),
    "a missing graph": (
        lambda folder: (folder / "model.onnx").unlink(),
        {
            "sha256 of model.onnx": "cannot be read",
            "graph model.onnx": "No such file",
            "parity of model.onnx": "No such",
        },
    ),
    "a label too few": (one_label_less, {"labels": "There are 199 labels, but the manifest says 200"}),
    "a renamed SE block": (lambda folder: with_graph(folder, se_nodes), {"graph model.onnx": "SE block layer2.0"}),
    "a graph of other classes": (lambda folder: with_graph(folder, output), {"graph model.onnx": ""}),
    "another gate": (
        lambda folder: with_gates(folder, lambda gate: "mul_56"),
        {"inner tensors": "names other gates or another head"},
    ),
    "no manifest to speak of": (
        lambda folder: (folder / "manifest.json").write_text("{"),
        {"manifest.json": "is not JSON"},
    ),
}


def failed(report: Verification) -> dict[str, str]:
    return {check.what: check.found for check in report.checks if not check.passed}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_found_named_and_stops_no_other_check(fault: str, copy: Path) -> None:
    spoil, expected = FAULTS[fault]
    spoil(copy)
    report = verify(copy, Progress())
    found = failed(report)
    assert set(expected) <= set(found)
    assert all(message in found[what] for what, message in expected.items()), found
    assert not report.passed
    assert len(report.checks) == (1 if "manifest.json" in expected else 9)
    assert "FAILED" in report.table()
    assert json.loads(report.to_json())["passed"] is False


def test_the_demo_bundle_passes_by_its_folder_and_by_that_of_its_versions(demo: Path) -> None:
    for path in (demo, demo.parent):
        report = verify(path, Progress())
        assert report.passed, report.table()
        assert report.table().endswith("All 11 checks passed.")


def test_an_older_bundle_passes_and_is_said_not_to_be_explainable(copy: Path) -> None:
    with_gates(copy, lambda gate: None)
    told(copy, head=None)
    report = verify(copy, Progress())
    assert report.passed
    assert "the bundle cannot be explained; export it again for that" in report.table()


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="holds no bundle: give a folder as"):
        verify(tmp_path, Progress())


def test_checkpoint_graph_and_bundle_tell_the_same_network(demo: Path, tmp_path: Path) -> None:
    spec = networks.spec(18, width=8, classes=10)
    torch.save(networks.tensors(spec), tmp_path / "net.pth")
    checkpoint = inspection.inspect(tmp_path / "net.pth", ConvertOptions(size=64))
    bundle = inspection.inspect(demo, ConvertOptions())
    graph = inspection.inspect(demo / "model.onnx", ConvertOptions())
    assert (checkpoint["kind"], checkpoint["name"], checkpoint["variant"]) == ("checkpoint", "seresnet18", "A")
    assert len(checkpoint["se_blocks"]) == len(bundle["se_blocks"]) == len(graph["se_blocks"]) == 8  # type: ignore[arg-type]
    assert graph["macs"] == bundle["macs"]
    assert abs(graph["parameters"] - bundle["parameters"]) < 0.01 * bundle["parameters"]  # type: ignore[operator]
    for facts in (checkpoint, bundle, graph):
        assert json.loads(inspection.to_json(facts)).keys() == facts.keys()
        assert "layer1.0" in inspection.table(facts)


def test_what_is_none_of_the_three_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"rubbish")
    for name in ("a.onnx", "nowhere.pth"):
        with pytest.raises((Exception,), match=r"cannot be read as an ONNX graph|There is no file"):
            inspection.inspect(tmp_path / name, ConvertOptions())
    with pytest.raises(CheckpointError):
        inspection.inspect(tmp_path / "nowhere.pth", ConvertOptions())


def test_a_manifest_without_graphs_or_with_others_files_or_without_a_proof_is_found(copy: Path) -> None:
    graph = Manifest.from_json((copy / "manifest.json").read_text()).graphs[0]
    further = dataclasses.replace(graph, precision="int8")
    shutil.copy(copy / "model.onnx", copy.parent / "outside.onnx")
    for graphs, said in (
        ((), "names no fp32 graph"),
        ((graph, dataclasses.replace(further, file="../outside.onnx")), "which is no file of the bundle"),
        ((graph, further), "has no parity row of this graph"),
    ):
        told(copy, graphs=graphs)
        report = verify(copy, Progress())
        assert not report.passed
        assert said in report.table()


def test_a_manifest_made_to_confuse_is_told_and_nothing_is_raised(copy: Path) -> None:
    (copy / "manifest.json").write_text("[" * 100_000)
    assert not verify(copy, Progress()).passed
