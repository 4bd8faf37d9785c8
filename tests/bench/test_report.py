"""The report is what the results say, looks the same wherever it is drawn, and can be read by everybody."""

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import pytest

from bench import load
from bench.alone import Alone
from bench.figures import CONNECTIONS, LoadRound
from bench.inside import STAGES, Counts, Inside
from bench.report import batches, curves, page, stages, style
from bench.report.__main__ import FOLDER, RESULTS
from bench.report.plot import Missing, Plot
from bench.wrk import Load
from tests.conftest import REPOSITORY
from tests.support.faces import running
from tests.support.pictures import jpeg


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    return page.files(RESULTS)


def committed() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}


def results(folder: Path, **changed: Any) -> Path:
    """The committed results, with other documents for some of them."""
    shutil.copytree(RESULTS, folder)
    for name, document in changed.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


def load_document(rounds: int = 2) -> list[dict[str, Any]]:
    """As `bench.load` writes it."""
    loads = tuple(
        Load(n, 3.0, 90, 30.0 + n, 30.0 + n, 20.0 * n, 25.0 * n, 30.0 * n, 0, 0.1, 5.0, 0.0) for n in CONNECTIONS
    )
    inside = tuple(
        Inside(dict.fromkeys(STAGES, float(n)), {"1": 3, "4": n} if n > 1 else {"1": 90}) for n in CONNECTIONS
    )
    row = LoadRound("demo", Alone(0.002, 0.002, 0.01, 0.008, 4, 2), loads, inside)
    written: list[dict[str, Any]] = json.loads(json.dumps([load._document([row] * rounds)]))
    return written


def test_the_committed_report_is_drawn_from_the_committed_results(drawn: dict[str, str], tmp_path: Path) -> None:
    """With another matplotlib than the one that drew it, lines may differ; the results that it names may not."""
    old = json.loads((RESULTS / "engines.json").read_text())
    old["medians"]["openvino int8, batches of 8: ms an image"] += 1
    altered = page.files(results(tmp_path / "results", engines=old))
    assert altered["engines.svg"] != drawn["engines.svg"]
    assert altered[page.PAGE] != drawn[page.PAGE]

    stated = re.search(r"<!-- matplotlib (\S+); (.*) -->\n$", committed()[page.PAGE])
    assert stated
    assert stated[2].split("; ") == page.inputs(RESULTS), "make bench-report"
    if stated[1] == matplotlib.__version__:
        assert committed() == drawn, "make bench-report"


def test_a_plot_is_the_same_whenever_it_is_drawn(drawn: dict[str, str]) -> None:
    assert page.files(RESULTS) == drawn
    assert not any(re.search(r"<dc:date>|20\d\d-\d\d-\d\d", text) for name, text in drawn.items() if name != page.PAGE)


def test_the_page_shows_each_plot_with_words_and_figures(drawn: dict[str, str]) -> None:
    shown = dict(re.findall(r"^!\[(.+)\]\((\S+\.svg)\)$", drawn[page.PAGE], re.MULTILINE))
    assert sorted(shown.values()) == sorted(name for name in drawn if name.endswith(".svg"))
    space = "{http://www.w3.org/2000/svg}"
    for alt, name in shown.items():
        assert len(re.findall(r"\d", alt)) > 5
        picture = ElementTree.fromstring(drawn[name])
        assert picture.findtext(f"{space}desc") == alt
        assert picture.findtext(f"{space}title")
        assert picture.get("role") == "img"
        texts = " ".join(text.text or "" for text in picture.iter(f"{space}text"))
        assert any(unit in texts for unit in ("images/s", "ms", "% of the batches"))


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_lines_and_texts_stand_out_in_both_modes(drawn: dict[str, str]) -> None:
    """WCAG 2.2 asks for 3 between lines and paper, and for 4.5 between text and paper."""
    assert contrast("#ffff00", style.PAPER) < 3
    for colour, paper in product(style.COLOURS, (style.PAPER, style.DARK[style.PAPER])):
        assert contrast(colour, paper) >= 3, colour
    assert contrast(style.INK, style.PAPER) >= 4.5
    assert contrast(style.DARK[style.INK], style.DARK[style.PAPER]) >= 4.5
    known = {*style.COLOURS, style.INK, style.PAPER, style.RULE, *style.DARK.values()}
    used = {colour for text in drawn.values() for colour in re.findall(r"(?:fill|stroke): *(#[0-9a-f]{6})", text)}
    assert used <= known


def test_what_the_results_do_not_hold_is_not_drawn() -> None:
    document = load_document()
    whole = [*batches.of_load(document), *stages.of_load(document)]
    assert [plot.name for plot in whole if isinstance(plot, Plot)] == ["batches", "lone", "stages"]
    for bundle in document:
        del bundle["medians"]["inside"]
    less = [*batches.of_load(document), *stages.of_load(document)]
    assert [plot.name for plot in less if isinstance(plot, Plot)] == ["lone"]
    assert all("again" in plot.why for plot in less if isinstance(plot, Missing))


def test_a_loaded_server_is_drawn_by_stage_and_batch(tmp_path: Path) -> None:
    text = page.files(results(tmp_path / "results", load=load_document()))[page.PAGE]
    assert "| demo, 64 pixels, 64 connections | 64.00 | 64.00 | 64.00 | 64.00 | 64.00 |" in text
    assert "| demo, 64 pixels, 8 connections | 27% | 73% |" in text
    assert "](batches.svg)" in text
    assert "](stages.svg)" in text


def test_servers_are_compared_only_where_little_else_ran() -> None:
    document = json.loads((RESULTS / "peers.json").read_text())
    for turn in document["turns"]:
        for row in turn["loads"]:
            row["others_cpu_s"] = 0.0
    (plot,) = curves.of_peers(document)
    assert isinstance(plot, Plot)
    with style.drawing():
        assert style.svg(plot.draw(), plot.title, plot.alt)
    document["turns"][0]["loads"][0]["others_cpu_s"] = document["turns"][0]["loads"][0]["seconds"]
    (missing,) = curves.of_peers(document)
    assert isinstance(missing, Missing)
    assert "quiet machine" in missing.why


@pytest.mark.anyio
async def test_inside_is_what_a_server_counted_between_two_looks(demo: Path) -> None:
    async with running(demo.parents[1]) as server:
        texts = []
        for seeds in ((1, 2), (3, 4, 5, 6, 7)):
            for seed in seeds:
                await server.rest.http.post("/classify", content=jpeg(seed))
            texts.append((await server.rest.http.get("/metrics")).text)
    inside = Inside.between(*map(Counts.of, texts))
    assert inside.batches == {"1": 5}
    assert list(inside.stage_ms) == list(STAGES)
    assert all(time_ms > 0 for time_ms in inside.stage_ms.values())
    assert Inside.between(Counts.of(texts[1]), Counts.of(texts[1])) == Inside({}, {})


def test_the_command_writes_the_report_and_removes_old_plots(drawn: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "old.svg").write_text("<svg/>")
    command = [sys.executable, "-m", "bench.report", "--to", str(tmp_path)]
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "matplotlibrc").write_text("lines.linewidth: 9\n")
    environment = os.environ | {"MATPLOTLIBRC": str(tmp_path / "settings"), "PYTHONHASHSEED": "7"}
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir() if path.is_file()}
    assert written == drawn
    ended = subprocess.run(
        [*command, "--results", str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True, timeout=240
    )
    assert ended.returncode == 1
    assert "load.json" in ended.stderr
