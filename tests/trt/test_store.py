"""The store of plans: no damaged plan is used, and none for another target."""

import contextlib
import dataclasses
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from bundle.parity import Parity
from tests.conftest import REPOSITORY
from trt import sidecar as known
from trt import store
from trt.errors import PlanError
from trt.gpus import Gpu
from trt.sidecar import Layers, Sidecar, Target
from trt.store import Store

H200 = Gpu(0, "NVIDIA H200", "9.0", 132, "13.1")
TARGET = Target.of(H200, "11.4.0.106")
DATA = b"ftrt" + bytes(20) + bytes([11, 4, 0, 106]) + b"an engine"


def sidecar(created: str = "2026-01-01", data: bytes = DATA, **changed: object) -> Sidecar:
    told = Sidecar(
        schema=known.SCHEMA,
        key=known.key([created]),
        created=created,
        bundle="demo/1",
        graph_sha256="g",
        precision="fp16",
        se="plugin",
        target=TARGET,
        batch_sizes=(1, 8),
        made_from={"graph": "g"},
        seconds={"native": {"1": 2e-3}, "plugin": {"1": 1e-3}},
        parity=Parity(32, 1e-3, 1e-2, 1.0, 1.0, 30, 1.0),
        layers=Layers(40, 0, ("layer1.0/se/SEGate",)),
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
    )
    return dataclasses.replace(told, **changed)  # type: ignore[arg-type]


def test_what_was_put_is_found_again_the_newest_first(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    for created in ("2026-01-02", "2026-01-03", "2026-01-01"):
        kept.put(DATA, sidecar(created))
    found = kept.plans_for("g", TARGET)
    assert [plan.sidecar.created for plan in found] == ["2026-01-03", "2026-01-02", "2026-01-01"]
    assert found[0].sidecar == sidecar("2026-01-03")
    assert found[0].read() == DATA
    assert not list(tmp_path.rglob(".tmp-*"))


@pytest.mark.parametrize(
    "other",
    [
        {"tensorrt": "11.4.0.107"},
        {"gpu": "NVIDIA H100"},
        {"compute_capability": "8.0"},
        {"multiprocessors": 114},
        {"driver": "13.2"},
        {"platform": "linux-aarch64"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_plan_fits_nothing_but_its_target(tmp_path: Path, other: dict[str, object]) -> None:
    kept = Store(tmp_path)
    kept.put(DATA, sidecar())
    assert kept.plans_for("g", TARGET)
    assert not kept.plans_for("another graph", TARGET)
    assert not kept.plans_for("g", dataclasses.replace(TARGET, **other))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: "{", "is ignored"),
        (lambda text: "[]", ""),
        (lambda text: json.dumps({**json.loads(text), "schema": known.SCHEMA - 1}), ""),
        (lambda text: json.dumps({**json.loads(text), "schema": known.SCHEMA + 1}), ""),
        (lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "parity"}), "parity is missing"),
        (lambda text: text.replace('"plugin"', '"magic"', 1), "must be one of native, pooled, plugin"),
    ],
    ids=["broken", "no object", "older schema", "newer schema", "field missing", "wrong value"],
)
def test_a_sidecar_that_is_not_understood_counts_as_not_there(
    tmp_path: Path, change: object, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Store(tmp_path)
    kept.put(DATA, sidecar())
    path = kept.folder / f"{sidecar().key}.json"
    path.write_text(change(path.read_text()))  # type: ignore[operator]
    assert not kept.plans_for("g", TARGET)
    assert kept.get(sidecar().key) is None
    assert told in caplog.text


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (DATA[:-1], "sha256 differs"),
        (b"", "sha256 differs"),
    ],
    ids=["cut off", "empty"],
)
def test_a_plan_that_is_not_what_was_built_is_not_read(tmp_path: Path, data: bytes, told: str) -> None:
    plan = Store(tmp_path).put(DATA, sidecar())
    plan.path.write_bytes(data)
    with pytest.raises(PlanError, match=f"{told}.*build-engine"):
        plan.read()
    plan.path.unlink()
    with pytest.raises(PlanError, match="cannot be read"):
        plan.read()


def test_a_plan_that_takes_anothers_place_leaves_it_to_those_who_run_it(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    first, second = (kept.put(data, sidecar(data=data)) for data in (DATA, DATA + b"!"))
    assert kept.get(sidecar().key) == second
    assert (first.read(), second.read()) == (DATA, DATA + b"!")


def test_a_sidecar_without_its_plan_counts_as_not_there(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    kept.put(DATA, sidecar()).path.unlink()
    assert kept.get(sidecar().key) is None
    assert not kept.plans_for("g", TARGET)


def test_the_version_of_a_plan_is_read_from_its_header() -> None:
    assert store.tensorrt_version(DATA) == "11.4.0.106"
    assert store.tensorrt_version(b"elf!" + DATA[4:]) == ""
    assert Target.of(H200, "10.14.1.48.post1").tensorrt == "10.14.1.48"


def test_keys_differ_where_anything_differs_and_not_by_order() -> None:
    assert known.key({"a": "1", "b": "2"}) == known.key({"b": "2", "a": "1"})
    assert len({known.key(made) for made in ({"a": "1"}, {"a": "2"}, {"b": "1"}, {})}) == 4


def test_timings_are_kept_for_a_version_and_a_kind_of_gpu(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    assert kept.timings(TARGET) == b""
    kept.put_timings(TARGET, b"times")
    assert kept.timings(dataclasses.replace(TARGET, driver="14.0")) == b"times"
    assert kept.timings(dataclasses.replace(TARGET, gpu="NVIDIA H100")) == b""
    assert kept.timings(dataclasses.replace(TARGET, tensorrt="11.5.0.0")) == b""


HOLD = """
import sys
from pathlib import Path
from trt.store import Store
with Store(Path(sys.argv[1])).lock(lambda: print("waits", flush=True)):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_build_at_a_time_and_one_that_died_holds_nothing_up(tmp_path: Path) -> None:
    @contextlib.contextmanager
    def build() -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
        arguments, pipe = [sys.executable, "-c", HOLD, str(tmp_path)], subprocess.PIPE
        with subprocess.Popen(arguments, cwd=REPOSITORY, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdout
            try:
                yield process, process.stdout
            finally:
                process.kill()

    with build() as (first, first_told):
        assert first_told.readline() == "held\n"
        with build() as (_, second_told):
            assert second_told.readline() == "waits\n"
            first.kill()
            assert second_told.readline() == "held\n"


def test_a_cache_folder_that_cannot_be_written_is_told_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "plans").write_text("a file in its place")
    kept = Store(tmp_path)
    for call in (
        lambda: kept.put(DATA, sidecar()),
        lambda: kept.put_timings(TARGET, b""),
        kept.lock(lambda: None).__enter__,
    ):
        with pytest.raises(PlanError, match=r"cannot be written.*--cache-dir"):
            call()


def test_users_without_a_home_have_a_cache_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(path: Path) -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "expanduser", no_home)
    assert Store(Path("~/.cache/sesame")).folder.parts[-2:] == ("sesame", "plans")
