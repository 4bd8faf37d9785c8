"""Stages: where the time of a request goes."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from bench.report import style
from bench.report.curves import TITLES
from bench.report.plot import Missing, Plot, connections, medians_of

LONE, UNDER_LOAD = "Where a lone request's time goes", "Stage times under load"
_PARTS = {
    "decode": "decode alone ms (median)",
    "engine": "engine alone, one image ms",
    "rest": "p50 at 1 - decode - engine ms",
}

Times = Mapping[str, Mapping[str, float]]
"""Milliseconds by stage, of each bar by its name."""


def of_load(document: Sequence[Mapping[str, Any]]) -> list[Plot | Missing]:
    """`bench.load`: the parts of a lone request, and the server's stages at each load."""
    rounds = len(document[0]["rounds"])
    lone = {
        TITLES.get(bundle["bundle"], bundle["bundle"]): {
            "": {part: bundle["medians"]["parts"][name] for part, name in _PARTS.items()}
        }
        for bundle in document
    }
    notes = (
        f"`python -m bench.load`, {medians_of(rounds)} at one connection. Decoding and the engine were timed "
        "alone; the rest is what p50 is above both, in each round: HTTP, threads, queue, answer."
    )
    stages = {
        TITLES.get(bundle["bundle"], bundle["bundle"]): {
            connections(load): inside["stage_ms"] for load, inside in bundle["medians"].get("inside", {}).items()
        }
        for bundle in document
    }
    plots: list[Plot | Missing] = [_plot("lone", LONE, notes, lone)]
    if not all(stages.values()):
        why = "`bench/results/load.json` was measured without them: `python -m bench.load` again"
        return [*plots, Missing(UNDER_LOAD, why)]
    notes = (
        f"`python -m bench.load`, {medians_of(rounds)}, mean times, from the histogram "
        "`sesame_stage_seconds` of `/metrics`. Queue is the wait for an engine that is busy with other images; infer "
        "is the whole batch."
    )
    return [*plots, _plot("stages", UNDER_LOAD, notes, stages)]


def _plot(name: str, title: str, notes: str, panels: Mapping[str, Times]) -> Plot:
    stages = list(dict.fromkeys(stage for bars in panels.values() for times in bars.values() for stage in times))
    table = [["ms", *stages]]
    told = []
    for panel, bars in panels.items():
        for bar, times in bars.items():
            label = ", ".join(filter(None, (panel, bar)))
            table.append([label, *(f"{times.get(stage, 0.0):.2f}" for stage in stages)])
            told.append(f"{label}: " + ", ".join(f"{stage} {time_ms:.3g} ms" for stage, time_ms in times.items()))
    return Plot(name, title, f"{title}. {'; '.join(told)}.", notes, table, lambda: _drawn(panels, stages))


def _drawn(panels: Mapping[str, Times], stages: Sequence[str]) -> Figure:
    figure, axes = style.bar_panels(len(panels), max(map(len, panels.values())))
    for one, (title, bars) in zip(axes, panels.items(), strict=True):
        left = [0.0] * len(bars)
        for number, stage in enumerate(stages):
            times_ms = [times.get(stage, 0.0) for times in bars.values()]
            one.barh(list(bars), times_ms, left=left, label=stage, **style.bar(number))
            left = [before + time_ms for before, time_ms in zip(left, times_ms, strict=True)]
        one.set_title(title)
        one.set_xlabel("ms")
        one.invert_yaxis()
        one.grid(axis="y", visible=False)
    style.legend(figure, axes)
    return figure
