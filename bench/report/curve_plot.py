"""Curve plot: draws throughput against latency."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bench.report import style
from bench.report.medians import LoadPoint
from bench.report.plot import Plot


@dataclass(frozen=True)
class Curve:
    """One server, or one way to ask it."""

    label: str
    points: Sequence[LoadPoint]


Panels = Mapping[str, Sequence[Curve]]
"""The curves of each panel by its title."""


def plot_of(name: str, title: str, notes: str, panels: Panels, at_once: str) -> Plot:
    """`at_once`: what the numbers of the points count."""
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
