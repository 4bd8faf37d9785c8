"""The diagnosis finds what is planted: channels, range, class order and stride, each on labelled photos."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bundle import labelsets
from bundle.errors import BundleError
from export.diagnose import Score, diagnose
from export.errors import ExportError
from export.graphs.graph import ServedNetwork
from export.guess import Guess
from export.options import ConvertOptions, preprocessing
from export.progress import Progress
from export.proving import labelled, samples
from export.proving.reference_runs import torch_probabilities
from models import trained
from models.evaluation import EvaluationTransform
from models.networks.design import Traits
from tests.support import oracles
from tests.support.pictures import jpeg
from tests.support.reference_networks import Tensors, distinct, seeded, timm

REAL = "mobilenetv3_small_tfhub_int8perchannel_dequant.pth"
ARCH = "timm:tf_mobilenetv3_small_100"


def shifted(tensors: Tensors, rows: Callable[[Tensor], Tensor]) -> Tensors:
    return {**tensors, **{key: rows(tensors[key]) for key in ("classifier.weight", "classifier.bias")}}


def in_devkit_order(rows: Tensor) -> Tensor:
    places = {label.id: index for index, label in enumerate(labelsets.named("imagenet-1k"))}
    return rows[[places[label.id] for label in labelsets.named("imagenet-1k-devkit")]]


PLANTED: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "nothing": (dict, "as given; nothing else that was tried is clearly better"),
    "BGR": (
        lambda good: {**good, "conv_stem.weight": good["conv_stem.weight"].flip(1)},
        "% with BGR. Convert with: --bgr",
    ),
    "0..255": (
        lambda good: {**good, "conv_stem.weight": good["conv_stem.weight"] / 127.5},
        "% with 0..255 minus ImageNet mean. Convert with: --mean 123.68,116.78,103.94 --std 1,1,1 --scale 255",
    ),
    "devkit order": (
        lambda good: shifted(good, in_devkit_order),
        "% with class order imagenet-1k-devkit. Convert with: --labels imagenet-1k-devkit",
    ),
    "off by one": (lambda good: shifted(good, lambda rows: rows.roll(1, 0)), "% with class order one later"),
}


@pytest.fixture(scope="module")
def real(shared: Path) -> Tensors:
    path = shared / "weights" / REAL
    if not path.exists():
        pytest.skip(f"{path.name} is not in the shared data")
    oracles.timm()
    return trained.understand(path, trained.ReadOptions(arch=ARCH)).source.tensors


@pytest.mark.parametrize("fault", PLANTED)
def test_each_planted_fault_of_a_real_network_is_named(
    fault: str, real: Tensors, photos: list[Path], tmp_path: Path
) -> None:
    plant, verdict = PLANTED[fault]
    torch.save(plant(real), tmp_path / "planted.pth")
    report = diagnose(tmp_path / "planted.pth", photos[0].parent, ConvertOptions(arch=ARCH), 50, Progress())
    assert verdict in report.verdict()
    assert report.best.top1 >= 0.78
    assert (report.best is report.given) == (fault == "nothing")


def test_a_wrong_stride_is_named_though_the_tensors_are_the_same(photos: list[Path], tmp_path: Path) -> None:
    """An SE-ResNet-26 and photos labelled by its own answers as variant A, read as variant B."""
    options = ConvertOptions(size=64, labels="imagenet-1k")
    some = photos[::8]
    checkpoint = tmp_path / "seresnet26.pth"
    images = torch.randn(16, 3, 64, 64)
    torch.save(distinct(seeded(timm("seresnet50", layers=(2, 2, 2, 2))), images).state_dict(), checkpoint)
    read = trained.understand(checkpoint)
    transform = options.transform(read.transform)
    pixels = np.stack([samples.load_picture(path, preprocessing(transform)) for path in some])
    served = ServedNetwork(read.network(), transform.mean, transform.std).eval()
    answers = torch_probabilities(served, pixels, lambda done, total: None).argmax(1)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, (path, answer) in enumerate(zip(some, answers, strict=True)):
        shutil.copy(path, folder / f"{labelsets.imagenet()[answer].id}_{number}.jpg")

    report = diagnose(checkpoint, folder, ConvertOptions(size=64, variant="B"), 50, Progress())
    assert report.best.top1 == 1
    assert report.given.top1 < 0.9
    assert report.verdict().endswith("100.0% with variant A. Convert with: --variant A")
    written = json.loads(report.to_json())
    assert (written["photos"], written["guesses"][0]["difference"]) == (25, ["variant A"])
    assert report.table().splitlines()[1].split()[2:] == ["variant", "A"]


def test_folders_ids_and_labels_tell_a_photos_class(tmp_path: Path) -> None:
    table = labelsets.imagenet()
    told = {
        "n01514668/1.jpg": "n01514668",
        "n01514668_cock.JPEG": "n01514668",
        "great white shark/a.png": "n01484850",
        "great_white_shark_17.jpg": "n01484850",
        "nothing.jpg": None,
        "crane/1.jpg": None,  # two classes are called so
    }
    for name in told:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(jpeg(1))
    found = {str(photo.path.relative_to(tmp_path)): photo.id for photo in labelled.find(tmp_path, table, 100)}
    assert found == {name: id for name, id in told.items() if id}


def test_photos_are_taken_evenly_from_all(tmp_path: Path) -> None:
    for name in [label.id for label in labelsets.imagenet()[:50]]:
        (tmp_path / f"{name}_1.jpg").write_bytes(b"")
    found = labelled.find(tmp_path, labelsets.imagenet(), 10)
    assert [photo.id for photo in found] == [label.id for label in labelsets.imagenet()[:50:5]]


@pytest.mark.parametrize("spoil", [lambda folder: folder.rmdir(), lambda folder: (folder / "a.jpg").write_bytes(b"")])
def test_photos_that_tell_nothing_are_refused(spoil: Callable[[Path], object], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    spoil(folder)
    with pytest.raises(
        (ExportError, BundleError), match=r"There is no folder|class of none of the 1 photos .* is known"
    ):
        labelled.find(folder, labelsets.imagenet(), 10)


@pytest.mark.parametrize(("gained", "lost", "surely"), [(3, 0, False), (6, 0, True), (10, 6, False), (20, 6, True)])
def test_chance_is_not_called_a_fault(gained: int, lost: int, surely: bool) -> None:
    """Of 100 photos, `gained` are right only with one guess, and `lost` only with the other."""
    guess = Guess(Traits(), EvaluationTransform(), "imagenet-1k")
    hits, other = np.zeros(100, bool), np.zeros(100, bool)
    hits[:gained] = True
    other[50 : 50 + lost] = True
    assert Score(guess, hits, 0).beats(Score(guess, other, 0)) == surely
