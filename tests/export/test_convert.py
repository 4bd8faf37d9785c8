"""Convert: from a checkpoint to a bundle, and every error on the way."""

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from bundle import files, parity
from bundle.errors import BundleError
from export import triton_files
from export.convert import STEPS, convert
from export.errors import ExportError
from export.graphs import graph
from export.options import ConvertOptions
from export.progress import Progress
from export.proving import reference_runs, samples
from models import loading
from models.errors import CheckpointError
from tests.conftest import REPOSITORY
from tests.support import exported, networks
from tests.support.pictures import jpeg

SPEC = networks.spec(10, width=8, classes=10, stem="3x3s2")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "small.pth"
    torch.save({"state_dict": networks.tensors(SPEC)}, path)
    return path


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "ten.txt"
    path.write_text("".join(f"class {i}\n" for i in range(10)))
    return path


@pytest.fixture
def options(labels: Path, tmp_path: Path) -> dict[str, Any]:
    return {"model_repository": tmp_path / "bundles", "stem": "3x3s2", "size": 64, "labels": str(labels)}


@pytest.fixture(autouse=True)
def one_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests here are about what stands around the graph, which is the same in all of them."""
    monkeypatch.setattr(graph, "to_onnx", exported.to_onnx)


def written(path: Path, options: ConvertOptions, progress: Progress) -> Path:
    return convert(path, options, progress).path


def bundles(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*")) if folder.exists() else []


def test_a_checkpoint_becomes_a_bundle_that_answers_as_torch_does(checkpoint: Path, options: dict[str, Any]) -> None:
    folder = written(checkpoint, ConvertOptions(**options, name="mine", notes=None), Progress(STEPS))
    bundle = files.read(folder)
    manifest = bundle.manifest
    assert (manifest.name, manifest.version, manifest.architecture.name) == ("mine", "1", "seresnet10")
    assert (manifest.source.format, manifest.source.taken) == ("timm", "'state_dict'")
    assert [label.name for label in bundle.labels] == [f"class {i}" for i in range(10)]
    assert [(row.name, row.channels, row.squeezed) for row in manifest.architecture.se_blocks][:3] == [
        ("layer1.0", 8, 2),
        ("layer2.0", 16, 2),
        ("layer3.0", 32, 2),
    ]
    row = manifest.parity[0]
    assert (row.images, row.inputs, row.engine) == (32, "generated", "onnxruntime-cpu")
    assert row.max_dp <= parity.MAX_DP
    assert row.max_dlogp <= parity.MAX_DLOGP

    network = loading.load(networks.tensors(SPEC), SPEC)
    served = graph.ServedNetwork(network, manifest.preprocessing.mean, manifest.preprocessing.std).eval()
    pixels = samples.generate(64, 64)[::-1].copy()
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    answered = session.run(["probabilities"], {"pixels": pixels})[0]
    with torch.inference_mode():
        assert parity.compare(served(torch.from_numpy(pixels)).numpy(), answered).passes()
    assert "were not given at its export" in (folder / "CARD.md").read_text()
    assert (folder.parent / "config.pbtxt").read_text() == triton_files.config(manifest)
    assert (folder.parent / "labels.txt").read_text() == "".join(f"class {i}\n" for i in range(10))


def test_the_graph_is_plain_onnx_with_folded_batch_norm_and_named_se_nodes(
    checkpoint: Path, options: dict[str, Any]
) -> None:
    model = onnx.load(written(checkpoint, ConvertOptions(**options), Progress(STEPS)) / "model.onnx")
    kinds = Counter(node.op_type for node in model.graph.node)
    assert (kinds["BatchNormalization"], kinds["Reshape"], kinds["Sigmoid"], len(model.functions)) == (0, 0, 4, 0)
    assert kinds["Conv"] == 1 + 4 * 2 + 3 + 4 * 2  # stem, blocks, downsamples, two 1x1 in each SE block
    assert [(entry.domain, entry.version >= 20) for entry in model.opset_import] == [("", True)]
    (taken,), (given,) = model.graph.input, model.graph.output
    assert (taken.name, taken.type.tensor_type.elem_type) == ("pixels", onnx.TensorProto.UINT8)
    assert [dim.dim_param or dim.dim_value for dim in taken.type.tensor_type.shape.dim] == ["batch", 64, 64, 3]
    assert (given.name, given.type.tensor_type.elem_type) == ("probabilities", onnx.TensorProto.FLOAT)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert [name for name in names if name.startswith("layer3.0/se/")] == [
        f"layer3.0/se/{step}" for step in ("ReduceMean", "fc1/Conv", "Relu", "fc2/Conv", "Sigmoid", "Mul")
    ]


def test_the_same_checkpoint_gives_the_same_graph_and_probe_and_names_no_path(
    checkpoint: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "to_onnx", exported.honest)
    first, second = (written(checkpoint, ConvertOptions(**options), Progress(STEPS)) for _ in range(2))
    assert (first.name, second.name) == ("1", "2")
    for name in ("model.onnx", "probe.npz", "labels.tsv"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    for path in first.iterdir():
        assert str(checkpoint.parent).encode() not in path.read_bytes()
        assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()


def test_photos_are_compared_on_when_the_user_gives_them(
    checkpoint: Path, options: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    for seed in range(33):
        (folder / "deeper" / f"{seed}.jpg").write_bytes(jpeg(seed))
    row = files.read(written(checkpoint, ConvertOptions(**options, photos=folder), Progress(STEPS))).manifest.parity[0]
    assert (row.images, row.inputs) == (33, "photos")


def test_preprocessing_is_as_chosen(checkpoint: Path, options: dict[str, Any]) -> None:
    chosen = ConvertOptions(
        **options, resize="squash", resize_to=70, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.5)
    )
    preprocessing = files.read(written(checkpoint, chosen, Progress(STEPS))).manifest.preprocessing
    assert (preprocessing.height, preprocessing.resize, preprocessing.resize_to, preprocessing.interpolation) == (
        64,
        "squash",
        70,
        "bilinear",
    )
    assert (preprocessing.mean, preprocessing.std) == ((127.5, 127.5, 127.5), (127.5, 63.75, 127.5))


def test_the_scale_of_a_mean_can_be_said_where_it_does_not_tell(checkpoint: Path, options: dict[str, Any]) -> None:
    chosen = ConvertOptions(**options, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), scale=255)
    preprocessing = files.read(written(checkpoint, chosen, Progress(STEPS))).manifest.preprocessing
    assert (preprocessing.mean, preprocessing.std) == ((0, 0, 0), (1, 1, 1))


def test_means_of_0_to_255_are_taken_as_they_are(checkpoint: Path, options: dict[str, Any]) -> None:
    chosen = ConvertOptions(**options, mean=(123.675, 116.28, 103.53), std=(58.4, 57.1, 57.4))
    preprocessing = files.read(written(checkpoint, chosen, Progress(STEPS))).manifest.preprocessing
    assert (preprocessing.mean, preprocessing.std) == ((123.675, 116.28, 103.53), (58.4, 57.1, 57.4))


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "wrong architecture": ({"arch": "seresnet50"}, CheckpointError, "make a seresnet10, not a seresnet50"),
    "unclear stem": ({"stem": None}, CheckpointError, "--stem 3x3s2 or --stem 3x3s1"),
    "labels of another number": ({"labels": "imagenet-1k"}, ExportError, "10 classes and 'imagenet-1k' has 1000"),
    "no such labels": ({"labels": "nowhere.txt"}, BundleError, "'nowhere.txt' cannot be read"),
    "no such format": ({"format": "tensorflow"}, CheckpointError, "no format 'tensorflow': choose one of timm"),
    "no such weights": ({"weights": "ema"}, CheckpointError, "no weights under 'ema': it has state_dict"),
    "no margin": ({"resize_to": 32}, BundleError, "resize_to must be at least the size"),
    "half a normalisation": ({"mean": (0.5, 0.5, 0.5)}, ExportError, "--mean and --std together"),
    "two scales": (
        {"mean": (0.5, 0.5, 0.5), "std": (58.0, 57.0, 57.0)},
        ExportError,
        "on different scales",
    ),
    "no number": ({"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, float("nan"))}, BundleError, "a finite std above"),
    "no size": ({"size": 0}, BundleError, "at least 8x8"),
    "bad name": ({"name": "a/b"}, BundleError, "cannot name a bundle"),
    "no such photos": ({"photos": Path("nowhere")}, ExportError, "There is no folder 'nowhere'"),
    "no photos": ({"photos": Path(__file__).parent}, ExportError, "holds 0 photos, but at least 32"),
    "photos to calibrate nothing on": ({"judge": Path("nowhere")}, ExportError, "name them with --precision"),
    "photos of two kinds": (
        {"photos": Path("nowhere"), "precisions": ("fp32", "int8")},
        ExportError,
        "compared on the photos of --judge or --calibrate: drop --photos",
    ),
    "no notes": ({"notes": Path("nowhere.md")}, ExportError, "'nowhere.md' cannot be read"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_exported_is_refused_in_a_sentence_and_nothing_is_written(
    reason: str, checkpoint: Path, options: dict[str, Any]
) -> None:
    changed, error, message = REFUSED[reason]
    with pytest.raises(error, match=message):
        written(checkpoint, ConvertOptions(**{**options, **changed}), Progress(STEPS))
    assert [path for path in bundles(options["model_repository"]) if path.is_file()] == []


def test_a_size_that_a_network_cannot_take_is_told(
    checkpoint: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def does_not_fit(network: torch.nn.Module, height: int, width: int) -> int:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x512 and 25088x4096)")  # as SE-VGG-16 has it

    monkeypatch.setattr("export.convert.complexity.multiply_adds", does_not_fit)
    with pytest.raises(ExportError, match="cannot take 64x64 pixels: give the size"):
        written(checkpoint, ConvertOptions(**options), Progress(STEPS))


def test_a_photo_that_cannot_be_decoded_is_named(checkpoint: Path, options: dict[str, Any], tmp_path: Path) -> None:
    for seed in range(32):
        (tmp_path / f"{seed}.jpg").write_bytes(jpeg(seed))
    (tmp_path / "7.jpg").write_bytes(jpeg()[:-200])
    with pytest.raises(ExportError, match=r"7\.jpg' cannot be used: The JPEG is truncated"):
        written(checkpoint, ConvertOptions(**options, photos=tmp_path), Progress(STEPS))


def test_a_graph_that_answers_otherwise_is_refused() -> None:
    network = loading.load(networks.tensors(SPEC), SPEC)
    served = graph.ServedNetwork(network, (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)).eval()
    pixels = samples.generate(64, 64)
    answers = reference_runs.onnx_probabilities(graph.to_onnx(served, 64, 64), pixels, lambda done, total: None)
    reference_runs.require_parity(reference_runs.torch_probabilities(served, pixels, lambda done, total: None), answers)
    with torch.no_grad():
        network.get_parameter("layer4.0.se.fc2.bias")[0] += 1
    other = reference_runs.torch_probabilities(served, pixels, lambda done, total: None)
    with pytest.raises(
        ExportError, match=r"answers differ from the torch network's: max \|Δp\|.*No bundle was written"
    ):
        reference_runs.require_parity(other, answers)


def test_a_network_that_answers_everything_alike_is_refused(options: dict[str, Any], tmp_path: Path) -> None:
    """A comparison with such a network proves nothing."""
    tensors = networks.tensors(SPEC)
    torch.save({**tensors, "fc.weight": torch.zeros_like(tensors["fc.weight"])}, tmp_path / "dead.pth")
    with pytest.raises(ExportError, match="gives all 32 images the same answer"):
        written(tmp_path / "dead.pth", ConvertOptions(**options), Progress(STEPS))


def test_the_class_names_in_a_checkpoint_are_its_labels_unless_the_user_says_otherwise(
    options: dict[str, Any], tmp_path: Path
) -> None:
    numbered = {name: index for index, name in enumerate(["n01440764", *(f"kind {i}" for i in range(9))])}
    torch.save({"state_dict": networks.tensors(SPEC), "class_to_idx": numbered}, tmp_path / "named.pth")
    own = files.read(written(tmp_path / "named.pth", ConvertOptions(**{**options, "labels": None}), Progress(STEPS)))
    assert own.manifest.labels.set == "class_to_idx"
    assert [label.name for label in own.labels][:2] == ["tench", "kind 0"]
    told = files.read(written(tmp_path / "named.pth", ConvertOptions(**options), Progress(STEPS)))
    assert told.labels[0].name == "class 0"


def test_a_network_that_takes_blue_first_is_served_as_any_other(
    checkpoint: Path, options: dict[str, Any], tmp_path: Path
) -> None:
    tensors = networks.tensors(SPEC)
    torch.save({**tensors, "conv1.weight": tensors["conv1.weight"].flip(1)}, tmp_path / "bgr.pth")
    pixels = samples.generate(64, 64)
    answers = [
        onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"]).run(
            None, {"pixels": pixels}
        )[0]
        for folder in (
            written(checkpoint, ConvertOptions(**options), Progress(STEPS)),
            written(tmp_path / "bgr.pth", ConvertOptions(**options, bgr=True), Progress(STEPS)),
            written(tmp_path / "bgr.pth", ConvertOptions(**options), Progress(STEPS)),
        )
    ]
    assert parity.compare(answers[0], answers[1]).passes()
    assert not parity.compare(answers[0], answers[2]).passes()


def test_generated_images_are_of_every_kind_and_always_the_same() -> None:
    images = samples.generate(48, 64)
    assert images.shape == (32, 48, 64, 3)
    assert images.dtype == np.uint8
    assert np.array_equal(images, samples.generate(48, 64))
    assert len(np.unique(images.reshape(32, -1), axis=0)) == 32


def command(checkpoint: Path, options: dict[str, Any]) -> list[str]:
    given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "export", "convert", str(checkpoint), *given]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_export_leaves_nothing_behind(
    number: signal.Signals, checkpoint: Path, options: dict[str, Any]
) -> None:
    with subprocess.Popen(command(checkpoint, options), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "exporting" in line:
                process.send_signal(number)
                break
        rest = process.stderr.read()
    assert process.returncode == 130
    assert rest.splitlines()[-1] == "export: interrupted; nothing was written."
    assert bundles(options["model_repository"]) == []


def test_the_command_prints_the_bundle_and_its_steps(checkpoint: Path, options: dict[str, Any]) -> None:
    done = subprocess.run(command(checkpoint, options), capture_output=True, text=True, check=True)
    assert done.stdout == f"{options['model_repository'] / 'seresnet10' / '1'}\n"
    assert [line[:5] for line in done.stderr.splitlines()] == [f"[{step}/6]" for step in range(1, 7)]


def test_the_command_refuses_with_a_sentence_and_no_traceback(checkpoint: Path, options: dict[str, Any]) -> None:
    options["arch"] = "seresnet50"
    failed = subprocess.run(command(checkpoint, options), capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("export: The tensors make a seresnet10, not a seresnet50")
    assert "Traceback" not in failed.stderr


def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(checkpoint: Path, options: dict[str, Any]) -> None:
    options["model_repository"].write_text("a file where a folder should be")
    failed = subprocess.run(command(checkpoint, options), capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].endswith("choose another folder with --model-repository.")
    assert "Traceback" not in failed.stderr


def test_the_demo_bundle_is_what_its_checkpoint_gives(shared: Path, demo: Path, tmp_path: Path) -> None:
    options = ConvertOptions(
        model_repository=tmp_path,
        stem="3x3s2",
        size=64,
        resize_to=64,
        interpolation="bilinear",
        labels=str(REPOSITORY / "models" / "recipes" / "tiny-imagenet-200.txt"),
    )
    again = files.read(written(shared / "weights" / "seresnet18_tiny.pth", options, Progress(STEPS)))
    kept = files.read(demo)
    assert again.labels == kept.labels
    assert again.manifest.architecture == kept.manifest.architecture
    assert again.manifest.preprocessing == kept.manifest.preprocessing
    assert again.manifest.source == kept.manifest.source
    assert parity.compare(kept.probe.probabilities, again.probe.probabilities).passes()
