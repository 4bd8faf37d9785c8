"""The commands `push` and `pull` over folders: what may be named, and what is said."""

import subprocess
import sys
from pathlib import Path

import pytest

from bundle.errors import BundleError
from export import transfers
from tests.conftest import REPOSITORY
from tests.support.published import publish


@pytest.fixture
def repository(demo: Path, tmp_path: Path) -> Path:
    publish(demo, tmp_path / "repository", 1)
    publish(demo, tmp_path / "repository", 2)
    publish(demo, tmp_path / "repository", 5, name="other")
    return tmp_path / "repository"


def content(root: Path) -> dict[str, bytes]:
    """Of the versions' files; what lies beside versions is left out."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.glob("*/*/*") if path.is_file()}


def test_a_whole_repository_goes_and_comes_back(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert transfers.run(["push", str(repository), str(tmp_path / "store")]) == 0
    assert capsys.readouterr().out == "demo/1\ndemo/2\nother/5\n"
    assert content(tmp_path / "store") == content(repository)
    assert transfers.run(["pull", (tmp_path / "store").as_uri(), str(tmp_path / "here")]) == 0
    here = tmp_path / "here"
    assert capsys.readouterr().out == f"{here}/demo/1\n{here}/demo/2\n{here}/other/5\n"
    assert content(here) == content(repository)
    assert "version_policy" in (here / "demo" / "config.pbtxt").read_text()
    assert transfers.run(["pull", str(tmp_path / "store"), str(here)]) == 0
    assert "other/5 is there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("named", "came"),
    [("demo", "demo/1 demo/2"), ("other", "other/5"), ("./demo", "demo/1 demo/2"), ("demo/2", "demo/2"), (".", "all")],
)
def test_a_model_is_named_by_its_name_or_by_its_folder(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], named: str, came: str
) -> None:
    bundle = named if named in ("demo", "other") else str(repository / named)
    assert transfers.run(["push", bundle, str(tmp_path / "store"), "--model-repository", str(repository)]) == 0
    expected = came.replace("all", "demo/1 demo/2 other/5").split()
    assert capsys.readouterr().out.split() == expected


def test_what_is_no_bundle_is_told_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="'nothing' is no bundle: give a model of 'model_repository' by its name"):
        transfers.run(["push", "nothing", str(tmp_path)])


def test_torch_is_not_imported() -> None:
    """That would take seconds."""
    told = "import sys; from export import __main__, transfers; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
