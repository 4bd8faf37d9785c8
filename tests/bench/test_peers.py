"""The comparison with other servers, as far as it needs none of them: FastAPI is one of Sesame's own parts."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.peers import environments, guard, table
from bench.peers.bodies import Bodies, Disagrees, agreement, forms
from bench.peers.catalogue import PEERS
from bench.peers.starting import started
from bench.peers.table import Turn
from bench.running import running
from bench.wrk import Load
from bundle import files
from bundle.files import Bundle
from tests.conftest import REPOSITORY

FASTAPI = PEERS[0]
ORPHAN = ["sh", "-c", "setsid sleep 600 & echo started; wait"]  # in a session of its own
GUARDED = [sys.executable, "-m", guard.__name__, *ORPHAN]


def zoomed(bundle: Bundle) -> Bundle:
    """With the same network, and another photo preparation than the one it is served with."""
    preprocessing = dataclasses.replace(
        bundle.manifest.preprocessing, resize_to=3 * bundle.manifest.preprocessing.width
    )
    return dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, preprocessing=preprocessing))


def test_a_peer_agrees_with_sesame_and_one_that_decodes_otherwise_is_found(
    demo: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESAME_ENGINE", "onnxruntime-cpu")
    monkeypatch.setenv("SESAME_EXACT_PIXELS", "true")
    bodies, bundle = Bodies(tuple(photos[:40])), files.read(demo)
    with running(demo.parents[1]) as sesame:
        expected = bodies.best_classes(sesame.url)
    assert len(set(expected)) > 20
    with started(FASTAPI, Path(sys.executable), 1, zoomed(bundle), bodies) as wrong:
        found = bodies.best_classes(wrong.url)
    with pytest.raises(Disagrees, match="FastAPI names the class that Sesame names"):
        agreement("FastAPI", found, expected)
    with started(FASTAPI, Path(sys.executable), 1, bundle, bodies) as right:
        assert agreement("FastAPI", bodies.best_classes(right.url), expected) == 1
        assert right.cpu_s() > 0


def test_a_form_carries_the_whole_photo(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    photo.write_bytes(bytes(range(256)))
    (tmp_path / "forms").mkdir()
    form = forms([photo], tmp_path / "forms")
    boundary = form.content_type.partition("boundary=")[2].encode()
    head, _, rest = form.paths[0].read_bytes().partition(b"\r\n\r\n")
    assert head.startswith(b"--" + boundary + b"\r\n")
    assert b'name="images"' in head
    assert rest == bytes(range(256)) + b"\r\n--" + boundary + b"--\r\n"


def test_a_guard_that_is_told_to_end_leaves_no_process_even_of_another_session() -> None:
    with subprocess.Popen(GUARDED, cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        process.terminate()
        assert process.stdout.read() == b""  # the end of the pipe: nobody holds it any more
    assert process.returncode == 0


def test_a_guard_whose_parent_is_killed_leaves_no_process() -> None:
    parent = [sys.executable, "-c", f"import subprocess, sys; subprocess.Popen({GUARDED!r}); sys.stdin.read()"]
    with subprocess.Popen(parent, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        process.kill()
        assert process.stdout.read() == b""


def test_without_the_package_index_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    with pytest.raises(environments.NoEnvironment, match=r"mosec cannot be installed .* leave this server out"):
        environments.python(PEERS[1])
    assert not [*tmp_path.rglob("made-*")]  # what is half made is not taken for an environment


def turn(server: str, rate: float, errors: int = 0) -> Turn:
    load = Load(1, 10.0, 100, rate, rate, 2.0, 2.5, 3.0, errors, 0.1, 0.5, 1.0)
    return Turn("seresnet50", server, 1.0, (load, load, dataclasses.replace(load, images_per_s=2 * rate)))


def document(turns: Sequence[Turn]) -> dict[str, object]:
    rows = [dataclasses.asdict(turn) for turn in turns]
    machine = {"command": "c", "made": "2026-01-01", "cores": 2, "cpu": "CPU", "rounds": 3, "photos": 100}
    return machine | {"turns": json.loads(json.dumps(rows))}


def test_the_table_has_medians_over_rounds_and_the_sum_of_errors() -> None:
    rates = {"Sesame": (50.0, 10.0, 60.0), "other": (7.0, 8.0, 9.0)}
    turns = [turn(name, rates[name][number], errors=number) for number in range(3) for name in rates]
    lines = table.markdown(document(turns)).splitlines()
    assert lines[0] == "| SE-ResNet-50 | 1 connection | 8 connections | 32 connections | CPU ms | errors |"
    assert lines[2] == "| Sesame | 50, 2.0 / 3.0 | 50, 2.0 / 3.0 | 100, 2.0 / 3.0 | 5.0 | 9 |"
    assert lines[3] == "| other | 8, 2.0 / 3.0 | 8, 2.0 / 3.0 | 16, 2.0 / 3.0 | 5.0 | 9 |"
    assert "Other work took at most 5% of the cores." in lines[-1]


def test_the_table_in_the_documentation_is_that_of_the_results() -> None:
    results = json.loads((REPOSITORY / "bench" / "results" / "peers.json").read_text())
    assert table.markdown(results) in (REPOSITORY / "docs" / "benchmarks.md").read_text()
