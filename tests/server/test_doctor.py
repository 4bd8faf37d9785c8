"""The doctor tries every engine on every bundle, and says what is wrong with the cure."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle import fast_jpeg, files
from server import doctor
from server.engines import batch_size
from server.host import cores
from server.settings import Settings
from tests.conftest import REPOSITORY
from tests.support.fake_cuda import Cuda
from tests.support.fakes import with_gpus, with_graphs


@pytest.fixture(autouse=True)
def timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each engine is timed in one round: that its figures are good is shown elsewhere."""
    monkeypatch.setattr(batch_size, "_MEASURING_S", 0.0)


def told(bundles: Path) -> Iterator[doctor.Finding]:
    return doctor.findings(Settings(model_repository=bundles))


def findings(bundles: Path) -> dict[str, doctor.Finding]:
    return {finding.subject: finding for finding in told(bundles)}


def finding_on(subject: str, bundles: Path) -> doctor.Finding:
    """The engines are not tried if it comes before."""
    return next(finding for finding in told(bundles) if finding.subject == subject)


def test_the_demo_is_tried_in_every_engine_that_is_installed(demo: Path) -> None:
    found = findings(demo.parents[1])
    assert "cores may be used" in found["processor"].message
    assert found["onnxruntime"].message[0].isdigit()
    tried = found["demo/1 onnxruntime-cpu fp32"]
    assert "images/s in batches of" in tried.message
    assert not any(finding.cure for finding in found.values())


def test_the_decoder_of_jpegs_is_named_and_what_would_be_faster(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_jpeg, "AVAILABLE", False)
    found = finding_on("JPEG decoder", demo.parents[1])
    assert "pip install simplejpeg cykooz-resizer" in found.message
    assert not found.cure
    monkeypatch.undo()
    if fast_jpeg.AVAILABLE:
        assert finding_on("JPEG decoder", demo.parents[1]).message.startswith("simplejpeg ")


def test_a_damaged_bundle_and_one_whose_probe_is_not_kept_are_reported_apart(demo: Path, tmp_path: Path) -> None:
    for name in ("damaged", "demo"):
        shutil.copytree(demo, tmp_path / name / "1")
    (tmp_path / "damaged" / "1" / "model.onnx").write_bytes(b"nothing")
    found = findings(tmp_path)
    assert found["damaged/1"].cure == "The server will not serve it."
    assert not found["demo/1 onnxruntime-cpu fp32"].cure


def test_an_engine_that_fails_is_bad_and_the_others_are_tried(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no such instruction\nand more")

    monkeypatch.setattr("server.engines.probe_check.check", fails)
    found = findings(demo.parents[1])["demo/1 onnxruntime-cpu fp32"]
    assert found.message == "no such instruction"
    assert found.line().startswith("BAD")


def test_int8_that_overflows_on_this_cpu_is_reported_with_the_cure(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = files.read(demo)
    with_graphs(tmp_path, bundle, {"int8": bundle.graph("fp32")[1].read_bytes()})
    monkeypatch.setattr(cores, "saturates", lambda: True)
    finding = finding_on("demo/1 int8", tmp_path)
    assert finding.line().startswith("BAD")
    assert finding.message == "model.int8.onnx has 8 bit weights, which overflow on this CPU (no VNNI)"
    assert finding.cure == "Export the bundle again."
    monkeypatch.setattr(cores, "saturates", lambda: False)
    assert "demo/1 int8" not in findings(tmp_path)


@pytest.mark.parametrize(
    ("folder", "code", "line"), [("model_repository", 0, "ok  demo/1"), ("missing", 1, "BAD model repository")]
)
def test_the_command_reports_by_its_exit_code(folder: str, code: int, line: str) -> None:
    command = [sys.executable, "-m", "server", "doctor", "--model-repository", folder]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert ended.returncode == code, ended.stderr
    assert line in ended.stdout


def test_a_gpu_is_reported_with_its_plans_and_what_builds_them(demo: Path, tmp_path: Path) -> None:
    """Over fakes: a small SE network is built in every way, in processes of their own."""
    command = [sys.executable, "-m", "server", "doctor", "--cache-dir", str(tmp_path / "cache")]
    environment = with_gpus(tmp_path / "site", "NVIDIA H200", "NVIDIA B200")
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120)
    lines = [line for line in ended.stdout.splitlines() if "GPU" in line]
    assert "ok  NVIDIA GPU 0                      NVIDIA H200, compute capability 9.0, 132 multi" in lines[0], (
        ended.stderr
    )
    assert lines[0].endswith("driver for CUDA 13.1")
    assert "NVIDIA B200" in lines[1]
    plans = [line for line in lines if "plan with SE" in line]
    assert [line[4:33].strip() for line in plans] == [
        f"GPU {gpu}: plan with SE {way}" for gpu in (0, 1) for way in ("native", "pooled", "plugin")
    ]
    assert all("layers, " in line and " reformat; one image " in line for line in plans)
    assert not list((tmp_path / "cache").rglob("*.plan"))


def test_a_plan_that_cannot_be_built_is_bad_with_the_reason(demo: Path, gpu: Cuda) -> None:
    """The process that builds has no GPU, as where a container was not given one."""
    found = findings(demo.parents[1])
    for way in ("native", "plugin"):
        finding = found[f"GPU 0: plan with SE {way}"]
        assert finding.message.startswith("export: No engine can be built: CUDA's driver cannot be used")
        assert finding.line().startswith("BAD")


def test_a_driver_that_is_there_and_cannot_be_used_is_bad(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "version").write_text("NVRM version")
    monkeypatch.setattr(doctor, "_NVIDIA", tmp_path / "version")
    finding = finding_on("NVIDIA GPU", demo.parents[1])
    assert "install NVIDIA's driver" in finding.message
    assert finding.line().startswith("BAD")
