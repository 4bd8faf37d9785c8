"""`python -m export excitations`: figures and tables of labelled photos, or an error and nothing."""

import csv
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle import files
from explain.network import ExplainedNetwork
from export import commands
from export.errors import ExportError
from export.excitation import figures
from export.proving import labelled
from tests.support.pictures import jpeg

CLASSES = ("goldfish", "bucket", "teapot")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed, name in enumerate(CLASSES * 4):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / f"{seed}.jpg").write_bytes(jpeg(seed))
    return folder


def run(*arguments: object) -> int:
    return commands.run(["excitations", *map(str, arguments)])


def test_figures_and_tables_are_written(
    demo: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(demo, "--photos", photos, "--output", tmp_path / "out", "--classes", "teapot,n01443537") == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"by-class.png", "within-class.png", "specificity.png", "gates.csv", "specificity.csv"}
    for name in names:
        if name.endswith("png"):
            image = np.asarray(Image.open(tmp_path / "out" / name).convert("L"))
            assert min(image.shape) > 200 and np.ptp(image) > 200
    told = capsys.readouterr()
    assert "layer4.1" in told.out and "running 12 photos of 3 classes" in told.err


def test_the_tables_hold_what_the_network_computes(demo: Path, photos: Path, tmp_path: Path) -> None:
    assert run(demo, "--photos", photos, "--output", tmp_path, "--csv") == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "gates.csv").read_text())))
    bundle = files.read(demo)
    own = [photo for photo in labelled.find(photos, bundle.labels, 100) if photo.id == "n01443537"]
    inside = ExplainedNetwork(bundle, 1).run(labelled.load_pixels(own, bundle.manifest.preprocessing))
    for number, block in enumerate(bundle.manifest.architecture.se_blocks):
        told = [float(row["mean"]) for row in rows if row["block"] == block.name and row["label"] == "goldfish"]
        np.testing.assert_allclose(told, inside.gates[number].mean(0), atol=2e-6)
        assert sum(row["block"] == block.name and row["class"] == "all" for row in rows) == block.channels
    assert len(list(csv.DictReader(io.StringIO((tmp_path / "specificity.csv").read_text())))) == 8


def test_equal_photos_give_equal_figures(demo: Path, photos: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert run(demo, "--photos", photos, "--output", tmp_path / name, "--format", "svg") == 0
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--classes", "unicorn"), "No classes of this network are called 'unicorn'"),
        (("--classes", "ladybug"), "No photo shows 'ladybug'"),
        (("--most", "1"), "All photos are of one class"),
    ],
)
def test_what_cannot_be_done_is_told_and_nothing_is_written(
    demo: Path, photos: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        run(demo, "--photos", photos, "--output", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_without_matplotlib_the_cure_is_told_before_the_work(
    demo: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ExportError, match="--csv"):
        run(demo, "--photos", photos, "--output", tmp_path / "out")
    assert "running" not in capsys.readouterr().err
    with pytest.raises(ExportError, match="plots"):
        figures.require_matplotlib()
