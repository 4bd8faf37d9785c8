"""`python -m server classify`: the same answers as the server's, and what is said where there are none."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.support.faces import running
from tests.support.pictures import encoded, jpeg, picture

PHOTOS = 7
ENGINE = ("--engine=onnxruntime-cpu", "--precision=fp32")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photos of all formats, in subfolders too, one of them broken, and files that are no photos."""
    root = tmp_path / "photos"
    (root / "more").mkdir(parents=True)
    for seed in range(PHOTOS - 2):
        (root / f"{seed}.jpg").write_bytes(jpeg(seed))
    (root / "more" / "without-suffix").write_bytes(encoded(picture(seed=8), "PNG"))
    (root / "more" / "9.WEBP").write_bytes(encoded(picture(seed=9), "WEBP", lossless=True))
    (root / "more" / "broken.jpg").write_bytes(jpeg(3)[:200])
    (root / "notes.txt").write_text("no photo")
    (root / ".hidden.jpg").write_bytes(b"of a file manager")
    return root


@pytest.fixture
def classify(cache: Path) -> Any:
    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command(cache, *arguments), cwd=REPOSITORY, capture_output=True, text=True, timeout=240)

    return run


def command(cache: Path, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "server", "classify", f"--cache-dir={cache}", *ENGINE, *map(str, arguments)]


def answered(text: str) -> dict[str, list[dict[str, Any]]]:
    """The predictions of JSON lines, by the name of the file."""
    rows = [json.loads(line) for line in text.splitlines()]
    return {Path(row["photo"]).name: row["predictions"] for row in rows if "predictions" in row}


def differs(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> bool:
    """Whether two answers name other classes, or other probabilities than rounding explains."""
    names = [[{**row, "probability": 0} for row in rows] for rows in (ours, theirs)]
    our_p, their_p = ([row["probability"] for row in rows] for rows in (ours, theirs))
    return names[0] != names[1] or not np.allclose(our_p, their_p, rtol=1e-4, atol=1e-6)


@pytest.mark.anyio
async def test_the_answers_are_those_of_a_server(folder: Path, classify: Any, demo: Path) -> None:
    ended = classify(folder, "--json")
    ours = answered(ended.stdout)
    assert len(ours) == PHOTOS, ended.stderr
    files = {path.name: path for path in folder.rglob("*") if path.name in ours}
    async with running(demo.parents[1], None, engine="onnxruntime-cpu", precision="fp32") as server:
        theirs = {
            name: (await server.rest.http.post("/classify", content=path.read_bytes())).json()["predictions"]
            for name, path in files.items()
        }
    names = sorted(ours)
    assert any(differs(ours[name], theirs[other]) for name, other in zip(names, names[1:] + names[:1], strict=True))
    assert not any(differs(ours[name], theirs[name]) for name in names)
    assert all(len(rows) == 5 for rows in ours.values())


def test_a_table_has_five_lines_a_photo_and_one_for_a_broken_one(folder: Path, classify: Any) -> None:
    ended = classify(folder)
    assert ended.returncode == 1
    lines = ended.stdout.splitlines()
    assert lines[0].split() == ["photo", "probability", "id", "label"]
    assert len(lines) == 1 + 5 * PHOTOS + 1
    assert re.search(r"0\.jpg +0\.\d{4}  n\d{8}  \w", lines[1])
    (broken,) = [line for line in lines if "error" in line]
    assert re.fullmatch(r".*/broken\.jpg  error: The JPEG .*: send the whole, undamaged file\.", broken)
    assert f"Classified {PHOTOS} of {PHOTOS + 1} photos by demo/1 (onnxruntime-cpu fp32) in " in ended.stderr
    assert "\r" not in ended.stderr  # no bar: it is no terminal


def test_one_photo_alone_is_answered_with_nothing_else(folder: Path, classify: Any) -> None:
    ended = classify(folder / "0.jpg", "--top-k", "3")
    assert ended.returncode == 0
    assert len(ended.stdout.splitlines()) == 4
    assert ended.stderr == ""


def test_a_csv_file_has_the_same_as_the_json_lines(folder: Path, classify: Any, tmp_path: Path) -> None:
    rows = answered(classify(folder, "--json", "--top-k=2").stdout)
    out = tmp_path / "out.csv"
    ended = classify("--csv", out, folder, "--top-k=2")
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "broken.jpg: error: The JPEG" in ended.stderr
    with out.open(newline="") as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == ["photo", "rank", "index", "id", "label", "probability"]
    assert len(written) == 2 * PHOTOS
    for row in written:
        known = rows[Path(row["photo"]).name][int(row["rank"]) - 1]
        assert (row["index"], row["id"], row["label"]) == (str(known["index"]), known["id"], known["label"])
        assert float(row["probability"]) == pytest.approx(known["probability"], rel=1e-4)


def test_what_cannot_be_read_is_an_error_of_its_own(folder: Path, classify: Any) -> None:
    """Also beside a photo of that name that is far too large."""
    large = folder / "large.jpg"
    large.write_bytes(jpeg(1) + bytes(100_000))
    ended = classify(folder / "0.jpg", "missing.jpg", large, "--json", "--max-image-bytes=50000")
    assert ended.returncode == 1
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert "predictions" in rows[0]
    assert rows[1]["error"] == {"code": "unreadable", "detail": "It cannot be read (No such file or directory)."}
    assert rows[2]["error"]["code"] == "too_large"
    assert "--max-image-bytes" in rows[2]["error"]["detail"]


def test_any_name_of_a_file_is_shown_on_one_line_and_json_is_utf_8(cache: Path, tmp_path: Path) -> None:
    names = [b"caf\xc3\xa9.jpg", b"latin-\xe9.jpg", b"two\nlines\x1b[2J.jpg"]
    for name in names:
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(jpeg())

    def printed(*options: str) -> bytes:
        environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
        asked = command(cache, tmp_path, "--top-k=1", *options)
        return subprocess.run(asked, cwd=REPOSITORY, env=environment, capture_output=True, timeout=240).stdout

    rows = [json.loads(line) for line in printed("--json").decode().splitlines()]
    assert [os.fsencode(Path(row["photo"]).name) for row in rows] == names
    table = printed().decode("latin-1")
    assert len(table.splitlines()) == 1 + len(names)
    assert "caf\xe9.jpg" in table
    assert r"two\nlines\x1b[2J.jpg" in table


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "Give files or folders"),
        (("empty",), 2, "There is no photo in 'empty'"),
        (("0.jpg", "--model", "nobody"), 2, "There is no model 'nobody': choose one of demo (--model NAME"),
        (("0.jpg", "--version", "9"), 2, "The model has no version 9: choose one of 1 ("),
        (("0.jpg", "--top-k", "201"), 2, "--top-k must be from 1 to 200"),
        (("0.jpg", "--csv", "nowhere/out.csv"), 2, "there is no folder 'nowhere': make it"),
        (("0.jpg", "--csv", "empty"), 2, "--csv empty is a folder"),
        (("0.jpg", "--csv", "out.csv", "--json"), 2, "not allowed with argument"),
        (("0.jpg", "--engine", "abacus"), 2, "engine must be"),
        (("0.jpg", "--model-repository", "nowhere"), 3, "There is no model repository 'nowhere'"),
        (("0.jpg", "--precision", "bf16"), 3, "Nothing here runs the bundle 'demo'"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_with_the_cure(
    arguments: tuple[str, ...], code: int, says: str, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "0.jpg").write_bytes(jpeg())
    repository = f"--model-repository={REPOSITORY / 'model_repository'}"
    ended = subprocess.run(
        command(cache, repository, *arguments),
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert says in ended.stderr
    assert ended.returncode == code
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out.csv").exists()


def test_of_several_models_one_must_be_named_and_a_setting_may_name_it(
    folder: Path, classify: Any, demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(demo, tmp_path / "models" / "demo" / "1")
    (tmp_path / "models" / "other" / "1").mkdir(parents=True)
    monkeypatch.setenv("SESAME_MODEL_REPOSITORY", str(tmp_path / "models"))
    ended = classify(folder / "0.jpg")
    assert ended.returncode == 2
    assert "Say which model: demo, other (--model NAME" in ended.stderr
    assert classify(folder / "0.jpg", "--default-model=demo").returncode == 0
    ended = classify(folder / "0.jpg", "--model=other")
    assert ended.returncode == 3
    assert "manifest.json of the bundle 'other/1' cannot be read" in ended.stderr


def test_the_command_must_come_first(cache: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "server", "--engine=auto", "classify", "0.jpg"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.returncode == 2
    assert "classify comes first" in ended.stderr


@contextmanager
def busy(cache: Path, folder: Path, *arguments: str | Path) -> Iterator["subprocess.Popen[str]"]:
    """The command while it waits for the bytes of a photo that never comes."""
    os.mkfifo(folder / "pipe.jpg")
    with subprocess.Popen(
        command(cache, folder / "0.jpg", folder / "pipe.jpg", *arguments),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        writer = os.open(folder / "pipe.jpg", os.O_WRONLY)  # returns when the command has opened it
        try:
            yield process
        finally:
            process.kill()
            os.close(writer)


def test_an_interrupt_leaves_no_file_and_waits_for_no_photo(cache: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with busy(cache, folder, "--csv", out / "out.csv") as process:
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=240)
    assert process.returncode == 130
    assert re.fullmatch(rf"server: Interrupted: [01] of 2 photos were done\. {out}/out\.csv was not written\.\n", told)
    assert list(out.iterdir()) == []


def test_an_interrupt_leaves_what_was_printed(cache: Path, folder: Path) -> None:
    with busy(cache, folder, "--json") as process:
        assert process.stdout
        assert json.loads(process.stdout.readline())["predictions"]
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=240)
    assert process.returncode == 130
    assert told == "server: Interrupted: 1 of 2 photos were done.\n"


def test_a_reader_that_leaves_ends_it_quietly(cache: Path, folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        command(cache, folder), cwd=REPOSITORY, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=240
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")
