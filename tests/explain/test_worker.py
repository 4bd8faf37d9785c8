"""The process for explanations: replies to each job, whatever is wrong with it, and ends with its input."""

import dataclasses
import io
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bundle import files
from bundle.predictions import Prediction
from explain.explainer import explain
from explain.explanation import Explanation, Wanted
from explain.network import ExplainedNetwork
from explain.wire import LENGTH, Job, Reply, frame, message
from explain.worker import Networks, work
from tests.conftest import REPOSITORY
from tests.support.pictures import jpeg

PHOTO = jpeg()


def job(folder: Path, photo: bytes = PHOTO, sha256: str | None = None, index: int | None = None) -> Job:
    sha256 = sha256 or files.read(folder).graph("fp32")[0].sha256
    return Job(str(folder), sha256, photo, Wanted(class_index=index, gates=True), 50_000_000, False)


def replies(*jobs: Job) -> list[Reply]:
    written = io.BytesIO()
    work(io.BytesIO(b"".join(map(frame, jobs))), written)
    data, found = io.BytesIO(written.getvalue()), []
    while length := data.read(LENGTH.size):
        found.append(message(data.read(LENGTH.unpack(length)[0]), Reply))
    return found


def _timeless(reply: Reply) -> Explanation:
    assert reply.explanation
    return dataclasses.replace(reply.explanation, decode_ms=0, infer_ms=0)


def test_each_job_gets_its_reply(demo: Path) -> None:
    expected = explain(
        ExplainedNetwork(files.read(demo), 1), PHOTO, Wanted(class_index=3, gates=True), 50_000_000, False
    )
    good, broken, unknown, again = replies(
        job(demo, index=3), job(demo, photo=PHOTO[:500]), job(demo, photo=b"GIF89a"), job(demo, index=3)
    )
    assert _timeless(good) == _timeless(again) == dataclasses.replace(expected, decode_ms=0, infer_ms=0)
    assert broken.failure and (broken.failure.kind, broken.failure.code) == ("photo", "bad_image")
    assert unknown.failure and unknown.failure.code == "unsupported_type"


def test_a_bundle_that_changed_or_is_gone_is_told(demo: Path, tmp_path: Path) -> None:
    changed, gone = replies(job(demo, sha256="0" * 64), job(tmp_path, sha256="0" * 64))
    assert changed.failure and changed.failure.kind == "bundle" and "have changed" in changed.failure.detail
    assert gone.failure and gone.failure.kind == "bundle"


def test_a_bug_is_told_and_the_next_job_is_computed(demo: Path) -> None:
    bug, good = replies(job(demo, index=1000), job(demo))
    assert bug.failure and bug.failure.kind == "bug" and "Traceback" not in bug.failure.detail
    assert good.explanation


def test_two_networks_are_kept(demo: Path, tmp_path: Path) -> None:
    networks = Networks()
    folders = [shutil.copytree(demo, tmp_path / name / "1") for name in "abc"]
    sha256 = files.read(demo).graph("fp32")[0].sha256
    first, second = (networks.get(str(folder), sha256) for folder in folders[:2])
    assert networks.get(str(folders[0]), sha256) is first
    networks.get(str(folders[2]), sha256)
    assert networks.get(str(folders[0]), sha256) is first
    assert networks.get(str(folders[1]), sha256) is not second


def test_what_is_no_reply_is_not_taken_for_one(demo: Path) -> None:
    with pytest.raises(msgspec.ValidationError):
        message(frame(job(demo))[LENGTH.size :], Prediction)
    with pytest.raises(msgspec.DecodeError):
        message(b"\xff\x00", Reply)


def test_the_process_ends_with_its_input_and_prints_nothing_but_replies(demo: Path) -> None:
    command = [sys.executable, "-m", "explain"]
    done = subprocess.run(command, input=frame(job(demo)), capture_output=True, cwd=REPOSITORY, timeout=120)
    assert done.returncode == 0
    (length,) = LENGTH.unpack(done.stdout[: LENGTH.size])
    assert len(done.stdout) == LENGTH.size + length
    assert message(done.stdout[LENGTH.size :], Reply).explanation
