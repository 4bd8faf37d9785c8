"""Which engine runs which graph: what is wished, else the fastest of what is proven, measured once."""

import dataclasses
import json
import logging
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest

from bundle import files
from bundle.errors import BundleError
from bundle.files import Bundle
from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.engines import on_cpu, table
from server.engines.choice import Chooser
from server.engines.machine import Machine
from server.engines.measurements import MeasurementCache
from server.engines.table import EngineEntry
from server.host import cores
from tests.support.clock import Clock, of_measurements
from tests.support.faces import KnowsProbe
from trt.store import Store


@pytest.fixture
def bundle(demo: Path) -> Bundle:
    return files.read(demo)


class Timed(KnowsProbe):
    """Takes so long on that clock; counts how often it was made."""

    made: ClassVar[list[str]] = []

    def __init__(self, bundle: Bundle, name: str, precision: str, seconds: float, clock: Clock) -> None:
        super().__init__(bundle)
        self.name, self.precision, self._seconds, self._clock = name, precision, seconds, clock
        Timed.made.append(f"{name} {precision}")

    def run(self, pixels: Pixels) -> Probabilities:
        self._clock.now_s += self._seconds
        return super().run(pixels)


@pytest.fixture
def installed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Two engines of set speeds, by engine and precision; 0 for one that does not work."""
    clock = of_measurements(monkeypatch)
    seconds = {"slow fp32": 16e-3, "fast fp32": 8e-3, "fast bf16": 4e-3, "slow int8": 2e-3, "fast int8": 1e-3}
    Timed.made.clear()

    def add(name: str, *precisions: str) -> EngineEntry:
        def make(path: Path, threads: int, precision: str) -> Timed:
            if not seconds[f"{name} {precision}"]:
                raise RuntimeError("no such operator")
            return Timed(bundle, name, precision, seconds[f"{name} {precision}"], clock)

        entry, file = EngineEntry(name, name, "cpu", f"tests.{name}_engine"), ModuleType(f"tests.{name}_engine")
        file.candidates = partial(on_cpu.candidates, entry, make, precisions)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, file.__name__, file)
        return entry

    monkeypatch.setattr(table, "ENGINES", (add("slow", "fp32"), add("fast", "fp32", "bf16")))
    return seconds


def proven(bundle: Bundle, *rows: tuple[str, str, str], largest_weight: int | None = 64) -> Bundle:
    """The bundle with an int8 graph and proofs of (file, engine, precision)."""
    manifest = bundle.manifest
    graph = dataclasses.replace(
        manifest.graphs[0], file="model.int8.onnx", precision="int8", largest_weight=largest_weight
    )
    parity = [dataclasses.replace(manifest.parity[0], file=f, engine=e, precision=p) for f, e, p in rows]
    changed = dataclasses.replace(manifest, graphs=(manifest.graphs[0], graph), parity=(*manifest.parity, *parity))
    return dataclasses.replace(bundle, manifest=changed)


def chooser(tmp_path: Path, engine: str = "auto", precision: str = "auto") -> Chooser:
    cache = tmp_path / "cache"
    return Chooser(Machine(2, [], Store(cache), 4), engine, precision, MeasurementCache(cache / "choices.json"))


def chosen(chooser: Chooser, bundle: Bundle) -> str:
    engine = chooser(bundle).engine
    return f"{engine.name} {engine.precision}"


def test_only_what_is_proven_competes_and_the_fastest_wins(
    bundle: Bundle, installed: dict[str, float], tmp_path: Path
) -> None:
    assert chosen(chooser(tmp_path), proven(bundle)) == "fast fp32"
    only_slow = proven(bundle, ("model.int8.onnx", "slow", "int8"))
    assert chosen(chooser(tmp_path), only_slow) == "slow int8"
    bf16 = proven(bundle, ("model.onnx", "fast", "bf16"))
    assert chosen(chooser(tmp_path), bf16) == "fast bf16"


def test_what_was_measured_is_told_and_not_measured_again(
    bundle: Bundle, installed: dict[str, float], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    choose, many = chooser(tmp_path), proven(bundle, ("model.int8.onnx", "fast", "int8"))
    assert choose(many).why.startswith("the fastest here, in images/s: fast int8 ")
    assert "demo runs on fast int8; images/s: fast int8 " in caplog.text
    assert sorted(Timed.made) == sorted(["slow fp32", "fast fp32", "fast int8", "fast int8"])
    Timed.made.clear()
    assert chosen(chooser(tmp_path), many) == "fast int8"
    assert Timed.made == ["fast int8"]
    Timed.made.clear()
    other = dataclasses.replace(many, manifest=dataclasses.replace(many.manifest, version="9"))
    chosen(chooser(tmp_path), other)
    assert len(Timed.made) == 4


def test_an_operator_may_choose(bundle: Bundle, installed: dict[str, float], tmp_path: Path) -> None:
    many = proven(bundle, ("model.int8.onnx", "fast", "int8"))
    assert chosen(chooser(tmp_path, engine="slow"), many) == "slow fp32"
    assert chosen(chooser(tmp_path, precision="fp32"), many) == "fast fp32"
    assert chooser(tmp_path, "fast", "int8")(many).why == "the only one here whose accuracy the export measured"
    with pytest.raises(BundleError, match="engine=slow and precision=int8"):
        chooser(tmp_path, "slow", "int8")(many)


def test_what_does_not_work_is_passed_over(bundle: Bundle, installed: dict[str, float], tmp_path: Path) -> None:
    installed["fast int8"] = 0
    assert chosen(chooser(tmp_path), proven(bundle, ("model.int8.onnx", "fast", "int8"))) == "fast fp32"


@pytest.mark.parametrize(
    ("largest_weight", "vnni", "expected"),
    [
        (64, False, "fast int8"),
        (64, True, "fast int8"),
        (None, True, "fast int8"),
        (127, True, "fast int8"),
        (None, False, "fast fp32"),
        (127, False, "fast fp32"),
    ],
)
def test_a_graph_with_8_bit_weights_needs_vnni_and_the_cure_is_told(
    largest_weight: int | None,
    vnni: bool,
    expected: str,
    bundle: Bundle,
    installed: dict[str, float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(cores, "saturates", lambda: not vnni)
    int8 = proven(bundle, ("model.int8.onnx", "fast", "int8"), largest_weight=largest_weight)
    told = "model.int8.onnx has 8 bit weights, which overflow on this CPU (no VNNI): export the bundle again"
    choice = chooser(tmp_path)(int8)
    assert f"{choice.engine.name} {choice.engine.precision}" == expected
    assert (told in choice.why) == (told in caplog.text) == (expected == "fast fp32")
    if expected == "fast fp32":
        with pytest.raises(BundleError, match=r"precision=int8: .*export the bundle again"):
            chooser(tmp_path, precision="int8")(int8)


def test_rates_are_not_those_of_a_processor_of_the_same_name_with_other_instructions(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered = MeasurementCache(tmp_path / "choices.json")
    monkeypatch.setattr(cores, "features", lambda: ["avx2"])
    without = remembered.key(bundle, [])
    assert remembered.key(bundle, []) == without
    monkeypatch.setattr(cores, "features", lambda: ["avx2", "avx512_vnni"])
    assert remembered.key(bundle, []) != without


@pytest.mark.parametrize("content", ["", "[1]", '{"x": 3}', "\x00"])
def test_a_damaged_memory_is_measured_anew(
    content: str, bundle: Bundle, installed: dict[str, float], tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "choices.json").write_text(content)
    assert chosen(chooser(tmp_path), proven(bundle)) == "fast fp32"
    assert len(json.loads((tmp_path / "cache" / "choices.json").read_text())) == 1


def test_a_folder_that_cannot_be_written_is_done_without(
    bundle: Bundle, installed: dict[str, float], tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file")
    assert chosen(chooser(tmp_path), proven(bundle)) == "fast fp32"


def test_openvino_answers_the_demos_probe_as_torch_did(bundle: Bundle) -> None:
    pytest.importorskip("openvino")
    from server.engines import probe_check
    from server.engines.openvino_cpu import OpenVinoCpuEngine

    engine = OpenVinoCpuEngine(bundle.graph("fp32")[1], 2, "fp32")
    assert probe_check.check(engine, bundle.probe, 5).images == 32
    assert "openvino-cpu fp32" in [candidate.name for candidate in Machine(2, [], Store(Path()), 4).candidates(bundle)]


def test_openvino_reports_to_nobody() -> None:
    pytest.importorskip("openvino", reason="needs OpenVINO")
    script = (
        "import sys; from server.engines import openvino_cpu; "
        "assert 'openvino' in sys.modules; assert sys.modules['openvino_telemetry'] is None"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize("entry", table.ENGINES, ids=lambda entry: entry.name)
def test_each_entry_of_the_table_has_its_file(entry: EngineEntry) -> None:
    file = find_spec(entry.module)  # not imported: not every runtime is installed here
    assert file and file.origin
    assert "\ndef candidates(bundle: Bundle, machine: Machine) -> Iterator[Candidate]:" in Path(file.origin).read_text()


def test_an_engine_that_is_not_installed_is_passed_over_and_who_insists_is_told(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        table, "ENGINES", (*table.ENGINES, EngineEntry("other-cpu", "Other", "cpu", "tests.no_such_engine"))
    )
    assert chosen(chooser(tmp_path, precision="fp32"), bundle)
    with pytest.raises(BundleError, match=r"engine=other-cpu .*: no Other \(No module named 'tests.no_such_engine'\)"):
        chooser(tmp_path, engine="other-cpu")(bundle)


@pytest.mark.parametrize(
    ("setting", "wanted"), [("auto", True), ("tensorrt", True), ("onnxruntime-cuda", True), ("openvino-cpu", False)]
)
def test_gpus_are_wanted_where_an_engine_on_them_may_be_chosen(setting: str, wanted: bool) -> None:
    assert setting in table.names()
    assert table.wants_gpus(setting) is wanted
