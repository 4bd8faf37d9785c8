"""The doctor tries every engine on every bundle, and says what is wrong with the cure."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server import doctor
from server.settings import Settings
from tests.conftest import REPOSITORY


def told(bundles: Path) -> dict[str, doctor.Finding]:
    return {finding.what: finding for finding in doctor.findings(Settings(bundles=bundles))}


def test_the_demo_is_tried_in_every_engine_that_is_installed(demo: Path) -> None:
    found = told(demo.parents[1])
    assert "cores may be used" in found["processor"].told
    assert found["onnxruntime"].told[0].isdigit()
    tried = found["demo/1 onnxruntime-cpu fp32"]
    assert "images/s in batches of" in tried.told
    assert not any(finding.cure for finding in found.values())


def test_a_damaged_bundle_and_one_whose_probe_is_not_kept_are_told_apart(demo: Path, tmp_path: Path) -> None:
    for name in ("damaged", "demo"):
        shutil.copytree(demo, tmp_path / name / "1")
    (tmp_path / "damaged" / "1" / "model.onnx").write_bytes(b"nothing")
    found = told(tmp_path)
    assert found["damaged/1"].cure == "The server will not serve it."
    assert not found["demo/1 onnxruntime-cpu fp32"].cure


def test_an_engine_that_fails_is_bad_and_the_others_are_tried(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no such instruction\nand more")

    monkeypatch.setattr("server.engines.check", fails)
    found = told(demo.parents[1])["demo/1 onnxruntime-cpu fp32"]
    assert found.told == "no such instruction"
    assert found.line().startswith("BAD")


@pytest.mark.parametrize(("bundles", "code", "line"), [("bundles", 0, "ok  demo/1"), ("missing", 1, "BAD bundles")])
def test_the_command_tells_by_its_exit_code(bundles: str, code: int, line: str) -> None:
    command = [sys.executable, "-m", "server", "doctor", "--bundles", bundles]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert ended.returncode == code, ended.stderr
    assert line in ended.stdout
