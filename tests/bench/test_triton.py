"""perf_analyzer on Sesame and Triton beside it: with the real tools where `make bench-triton` laid them down."""

import base64
import dataclasses
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.running import Server, running
from bench.triton import payload, perf, serving, table, tools
from bench.triton.payload import Disagrees
from bench.triton.perf import FACES, PerfFailed, Point
from bundle import files
from bundle.images import Pixels
from tests.conftest import REPOSITORY
from tests.support.pictures import jpeg

_WINDOWS = perf.of_requests(8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{number}.jpg" for number in range(40)]
    for number, path in enumerate(paths):
        path.write_bytes(jpeg(number))
    return paths


@pytest.fixture(scope="module")
def pictures(demo: Path, photos: list[Path]) -> Pixels:
    return payload.pixels(photos, files.read(demo).manifest.preprocessing)


@pytest.fixture(scope="module")
def sesame(demo: Path) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SESAME_ENGINE", "onnxruntime-cpu")
        patch.setenv("SESAME_PRECISION", "fp32")
        patch.setenv("SESAME_MAX_WAIT_MS", "600000")
        with running(demo.parents[1]) as server:
            yield server


@pytest.fixture(scope="module")
def with_tools() -> None:
    try:
        tools.perf_analyzer()
        tools.tritonserver()
    except tools.NoTools as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    ("name", "images", "at_once"),
    [("image", 1, 1), ("image", 1, 32), ("pixels", 1, 1), ("pixels", 1, 32), ("pixels", 32, 1)],
)
def test_the_real_perf_analyzer_completes(
    with_tools: None, sesame: Server, photos: list[Path], pictures: Pixels, tmp_path: Path, face: str, name: str,
    images: int, at_once: int,
) -> None:  # fmt: skip
    load = payload.write_pixels(pictures, tmp_path) if name == "pixels" else payload.write_images(photos, tmp_path)
    point = perf.measure(sesame, "demo", dataclasses.replace(load, images=images), face, at_once, _WINDOWS)
    assert (point.face, point.input, point.concurrency, point.images_a_request) == (face, name, at_once, images)
    assert point.images >= 3 * 8 * images  # three windows
    assert point.images_per_s > 0
    assert 0 < point.p50_ms <= point.p99_ms
    assert point.server_cpu_s > 0


def test_one_refused_request_ends_it(with_tools: None, sesame: Server, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    load = payload.write_images([tmp_path / "bad.jpg"], tmp_path)
    with pytest.raises(PerfFailed, match="send JPEG, PNG or WebP"):
        perf.measure(sesame, "demo", load, "http", 1, _WINDOWS)


def test_the_real_triton_names_the_classes_that_sesame_names(
    with_tools: None, demo: Path, sesame: Server, pictures: Pixels
) -> None:
    ours = payload.best_classes(sesame, "demo", pictures)
    assert len(set(ours)) > 5
    before = set(Path("/dev/shm").glob("triton-*"))
    with serving.started(files.read(demo)) as triton:
        assert payload.agreement(payload.best_classes(triton, "demo", pictures), ours) == 1
        swapped = payload.best_classes(triton, "demo", np.ascontiguousarray(pictures[..., ::-1]))
        assert triton.cpu_s() > 0
        mapped = set(Path("/dev/shm").glob("triton-*")) - before
    assert mapped
    assert not any(path.exists() for path in mapped)
    with pytest.raises(Disagrees, match="of the pictures only"):
        payload.agreement(swapped, ours)


def test_a_photo_is_sent_as_an_element_with_its_length(photos: list[Path], tmp_path: Path) -> None:
    (first, *_) = json.loads(payload.write_images(photos, tmp_path).path.read_text())["data"]
    photo = photos[0].read_bytes()
    assert base64.b64decode(first["image"]["b64"]) == len(photo).to_bytes(4, "little") + photo


def test_without_the_tools_the_message_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "ROOT", tmp_path)
    monkeypatch.setattr(tools, "FOLDER", tmp_path / "triton")
    with pytest.raises(tools.NoTools, match="make bench-triton"):
        tools.perf_analyzer()


def test_a_library_that_a_program_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, for a program that lacks a library")
    monkeypatch.setattr(tools, "FOLDER", tmp_path)
    (tmp_path / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "libb64" / "usr" / "lib" / "here").mkdir(parents=True)
    library = tmp_path / "libb64" / "usr" / "lib" / "here" / "libneeded.so"
    _compile("int needed(void) { return 0; }", "-shared", "-fPIC", "-Wl,-soname,libneeded.so", "-o", str(library))
    program = tmp_path / "bin" / "perf_analyzer"
    _compile("int needed(void); int main(void) { return needed(); }", "-o", str(program), str(library), "-Wl,-rpath=")
    assert tools.perf_analyzer()[0] == program
    library.unlink()
    with pytest.raises(tools.NoTools, match=r"perf_analyzer needs .*libneeded.so"):
        tools.perf_analyzer()


def _compile(source: str, *options: str) -> None:
    subprocess.run(["gcc", "-x", "c", "-", "-x", "none", *options], input=source, text=True, check=True)


def point(**changed: Any) -> dict[str, Any]:
    made = Point("http", "pixels", 1, 1, 100.0, 2.0, 3.0, 500, 10.0, 0.5, 1.0, 0.2)
    return dataclasses.asdict(dataclasses.replace(made, **changed))


def test_the_table_has_medians_and_the_ratio_of_each_round() -> None:
    rates = {"Sesame": (50.0, 10.0, 60.0), "Triton": (25.0, 20.0, 20.0)}
    beside = [
        {**point(images_per_s=rates[name][number]), "network": "demo", "server": name}
        for number in range(3)
        for name in rates
    ]
    machine = {"command": "c", "made": "2026-01-01", "cores": 2, "cpu": "CPU", "rounds": 3, "versions": "v"}
    lines = table.markdown({**machine, "points": [point(input="image")], "side_by_side": beside}).splitlines()
    assert lines[2] == "| http, 1 at once | 50, 2.0 / 3.0 | 20, 2.0 / 3.0 | 2.00 | 2.00 / 2.00 |"
    assert "| Demo | http, image |" in lines
    assert "| 1 at once | 100, 2.0 / 3.0 |" in lines
    assert "other work took at most 1%" in lines[-1]


def test_the_table_in_the_documentation_is_that_of_the_results() -> None:
    results = json.loads((REPOSITORY / "bench" / "results" / "triton.json").read_text())
    assert table.markdown(results) in (REPOSITORY / "docs" / "benchmarks.md").read_text()
