"""Curves: throughput against latency, from one request at a time to as many as fill the server."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bench.report import style
from bench.report.medians import LoadPoint, by_load, others
from bench.report.plot import Missing, Plot, medians_of

TITLES = {"demo": "demo, 64 pixels", "seresnet50": "SE-ResNet-50, 224 pixels", "mobilenetv3": "MobileNetV3-Small"}
_MOST_OTHERS = 0.1
"""Where other work took more of the cores, a comparison of servers shows the other work."""


@dataclass(frozen=True)
class Curve:
    """One server, or one way to ask it."""

    label: str
    points: Sequence[LoadPoint]


Panels = Mapping[str, Sequence[Curve]]
"""The curves of each panel by its title."""


def of_load(document: Sequence[Mapping[str, Any]]) -> list[Plot | Missing]:
    """`bench.load`: Sesame over HTTP."""
    found: dict[str, Sequence[Curve]] = {}
    for bundle in document:
        rows = [load for row in bundle["rounds"] for load in row["loads"]]
        found[_title(bundle["bundle"])] = [Curve("Sesame", by_load(rows, "connections"))]
    notes = _notes("python -m bench.load", len(document[0]["rounds"]), document[0]["cores"], "connections")
    return [_plot("load", "Photos over HTTP", notes, found, "connections")]


def of_triton(document: Mapping[str, Any]) -> list[Plot | Missing]:
    """`bench.triton`: Sesame by both faces, and beside NVIDIA's Triton."""
    notes = _notes("python -m bench.triton", document["rounds"], document["cores"], "requests")
    ways = {(row["input"], row["face"]) for row in document["points"]}
    faces: dict[str, Sequence[Curve]] = {}
    for input in sorted({input for input, _ in ways}):
        rows = [row for row in document["points"] if row["input"] == input]
        faces[f"demo, {_SENT[input]}"] = [
            Curve(f"Sesame, {_FACES[face]}", by_load([row for row in rows if row["face"] == face], "concurrency"))
            for face in _FACES
            if (input, face) in ways
        ]
    beside: dict[str, Sequence[Curve]] = {}
    singles = [row for row in document["side_by_side"] if row["images_a_request"] == 1]
    for network in dict.fromkeys(row["network"] for row in singles):
        here = [row for row in singles if row["network"] == network]
        servers = {(row["server"], row["face"]): None for row in here}
        beside[_title(network)] = [
            Curve(
                f"{server}, {_FACES[face]}",
                by_load([row for row in here if (row["server"], row["face"]) == (server, face)], "concurrency"),
            )
            for server, face in servers
        ]
    return [
        _plot("faces", "Both faces of the Open Inference Protocol", notes, faces, "requests at once"),
        _plot("triton", "Beside NVIDIA's Triton, pixels in fp32", notes, beside, "requests at once"),
    ]


def of_peers(document: Mapping[str, Any]) -> list[Plot | Missing]:
    """`bench.peers`: Sesame beside other servers."""
    title = "Beside other servers"
    loads = [load for turn in document["turns"] for load in turn["loads"]]
    share = others(loads, document["cores"])
    if share > _MOST_OTHERS:
        why = f"other work took {share:.0%} of the cores while `bench/results/peers.json` was measured"
        return [Missing(title, f"{why}: `python -m bench.peers` on a quiet machine")]
    found: dict[str, Sequence[Curve]] = {}
    for network in dict.fromkeys(turn["network"] for turn in document["turns"]):
        turns = [turn for turn in document["turns"] if turn["network"] == network]
        found[_title(network)] = [
            Curve(server, [point for point in by_load(_loads(turns, server), "connections") if point.images_per_s])
            for server in dict.fromkeys(turn["server"] for turn in turns)
        ]
    notes = _notes("python -m bench.peers", document["rounds"], document["cores"], "connections")
    return [_plot("peers", title, notes, found, "connections")]


_SENT = {"image": "JPEG files", "pixels": "pixels"}
_FACES = {"http": "HTTP", "grpc": "gRPC"}


def _loads(turns: Sequence[Mapping[str, Any]], server: str) -> list[Mapping[str, Any]]:
    return [load for turn in turns if turn["server"] == server for load in turn["loads"]]


def _title(network: str) -> str:
    return next((title for name, title in TITLES.items() if network.startswith(name)), network)


def _notes(command: str, rounds: int, cores: int, at_once: str) -> str:
    return (
        f"`{command}`, {medians_of(rounds)}, {cores} cores. Further right is more, further down is faster. The numbers "
        f"at the points are {at_once}; the line is p50, the dashes above it reach p99."
    )


def _plot(name: str, title: str, notes: str, panels: Panels, at_once: str) -> Plot:
    table = [["network", "server", at_once, "images/s", "p50 ms", "p99 ms"]]
    for panel, curves in panels.items():
        for curve in curves:
            table += [[panel, curve.label, str(point.at_once), *map(_short, _values(point))] for point in curve.points]
    return Plot(name, title, _alt(panels, at_once), notes, table, lambda: _drawn(panels))


def _values(point: LoadPoint) -> tuple[float, float, float]:
    return point.images_per_s, point.p50_ms, point.p99_ms


def _alt(panels: Panels, at_once: str) -> str:
    told = []
    for panel, curves in panels.items():
        ends = "; ".join(
            f"{curve.label} {_told(curve.points[0])} at {curve.points[0].at_once} to {_told(curve.points[-1])} "
            f"at {curve.points[-1].at_once} {at_once}"
            for curve in curves
            if curve.points
        )
        told.append(f"{panel}: {ends}")
    return f"Throughput against latency. {'. '.join(told)}."


def _told(point: LoadPoint) -> str:
    return f"{_short(point.images_per_s)} images/s and {_short(point.p50_ms)} ms"


def _drawn(panels: Panels) -> Figure:
    figure, axes = style.panels(len(panels))
    labels = list(dict.fromkeys(curve.label for curves in panels.values() for curve in curves))
    for one, (title, curves) in zip(axes, panels.items(), strict=True):
        one.set_title(title)
        one.set_xlabel("images/s")
        one.set_yscale("log")
        for curve in curves:
            _draw(one, curve, labels.index(curve.label))
        one.margins(x=0.1, y=0.12)
        one.set_xlim(left=0)
        one.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        one.yaxis.set_minor_formatter(FuncFormatter(_few))
    axes[0].set_ylabel("latency, ms")
    style.legend(figure, axes)
    return figure


def _draw(axes: Axes, curve: Curve, number: int) -> None:
    colour, marker = (kinds[number % len(kinds)] for kinds in (style.COLOURS, style.MARKERS))
    rates = [point.images_per_s for point in curve.points]
    middle, high = [point.p50_ms for point in curve.points], [point.p99_ms for point in curve.points]
    line = "-" if number < len(style.COLOURS) else "--"
    axes.plot(rates, middle, line, color=colour, marker=marker, markersize=4, label=curve.label)
    axes.vlines(rates, middle, high, colors=colour, linestyles="dotted", linewidth=1)
    axes.plot(rates, high, "_", color=colour, markersize=6)
    beside, side = ((5, -8), "left") if number % 2 == 0 else ((-5, 3), "right")  # neighbours' numbers do not meet
    for point in curve.points:
        at = (point.images_per_s, point.p50_ms)
        axes.annotate(str(point.at_once), at, beside, textcoords="offset points", ha=side, fontsize=7)


def _few(value: float, _: int) -> str:
    """Labels of a decade's 2 and 5."""
    return f"{value:g}" if value > 0 and round(value / 10 ** math.floor(math.log10(value)), 6) in (2, 5) else ""


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
