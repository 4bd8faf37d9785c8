"""Batches: what an image costs in batches of each size, and which sizes a loaded server makes."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from bench.report import style
from bench.report.curves import TITLES
from bench.report.plot import Missing, Plot, connections, medians_of

_ENGINE = re.compile(r"(\S+ \S+), batches of (\d+): ms an image")
_NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
UNDER_LOAD = "Batch sizes under load"


def of_engines(document: Mapping[str, Any]) -> list[Plot | Missing]:
    """`bench.engines`: every engine and precision by batch size; the networks without SE are left out."""
    found: dict[str, dict[int, float]] = {}
    for name, value in document["medians"].items():
        if match := _ENGINE.fullmatch(name):
            engine, precision = match[1].split()
            found.setdefault(f"{_NAMES.get(engine, engine)} {precision}", {})[int(match[2])] = value
    sizes = sorted({size for row in found.values() for size in row})
    table = [["ms an image", *(f"batches of {size}" for size in sizes)]]
    table += [[name, *(f"{row[size]:.1f}" for size in sizes)] for name, row in sorted(found.items())]
    told = "; ".join(
        f"{name} from {row[sizes[0]]:.1f} to {row[sizes[-1]]:.1f} ms" for name, row in sorted(found.items())
    )
    alt = f"Time of an image of SE-ResNet-50 in batches of {sizes[0]} to {sizes[-1]}: {told}."
    notes = (
        f"`python -m bench.engines`, {medians_of(len(document['rounds']))}, SE-ResNet-50 of 224 pixels, the "
        "engine alone. Further down is faster."
    )
    return [Plot("engines", "Batch size and time of an image", alt, notes, table, lambda: _engines(found, sizes))]


def _engines(found: Mapping[str, Mapping[int, float]], sizes: Sequence[int]) -> Figure:
    figure, (axes,) = style.panels(1)
    for number, (name, row) in enumerate(sorted(found.items())):
        colour, marker = style.COLOURS[number % len(style.COLOURS)], style.MARKERS[number % len(style.MARKERS)]
        axes.plot(list(row), list(row.values()), color=colour, marker=marker, markersize=5, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(sizes))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("images in a batch")
    axes.set_ylabel("ms an image")
    axes.set_ylim(bottom=0)
    style.legend(figure, [axes])
    return figure


def of_load(document: Sequence[Mapping[str, Any]]) -> list[Plot | Missing]:
    """`bench.load`: the batches that the server made at each load."""
    panels = {
        TITLES.get(bundle["bundle"], bundle["bundle"]): {
            load: inside["batches"] for load, inside in bundle["medians"].get("inside", {}).items()
        }
        for bundle in document
    }
    if not all(panels.values()):
        return [Missing(UNDER_LOAD, "`bench/results/load.json` was measured without it: `python -m bench.load` again")]
    sizes = sorted({int(size) for loads in panels.values() for batches in loads.values() for size in batches})
    table = [["share of the batches", *(_up_to(sizes, size) for size in sizes)]]
    told = []
    for panel, loads in panels.items():
        for load, batches in loads.items():
            shares = [batches.get(str(size), 0) / sum(batches.values()) for size in sizes]
            table.append([f"{panel}, {connections(load)}", *(f"{share:.0%}" for share in shares)])
            most = max(range(len(sizes)), key=shares.__getitem__)
            told.append(f"{panel}, {connections(load)}: {shares[most]:.0%} had {_up_to(sizes, sizes[most])}")
    notes = (
        "`python -m bench.load`, all batches of all rounds, from the histogram "
        "`sesame_batch_images` of `/metrics`. There is no timer: a busy engine takes what waits, up to its best size."
    )
    alt = f"Shares of the batches by their number of images. {'; '.join(told)}."
    return [Plot("batches", UNDER_LOAD, alt, notes, table, lambda: _under_load(panels, sizes))]


def _up_to(sizes: Sequence[int], size: int) -> str:
    """Which numbers of images a bucket of the histogram holds: their bounds are powers of two."""
    least = size // 2 + 1
    return f"{least} to {size} images" if least < size else f"{size} image{'s' * (size > 1)}"


def _under_load(panels: Mapping[str, Mapping[str, Mapping[str, int]]], sizes: Sequence[int]) -> Figure:
    figure, axes = style.bar_panels(len(panels), max(map(len, panels.values())))
    for one, (title, loads) in zip(axes, panels.items(), strict=True):
        left = [0.0] * len(loads)
        for number, size in enumerate(sizes):
            shares = [100 * batches.get(str(size), 0) / sum(batches.values()) for batches in loads.values()]
            look = style.bar(number)
            one.barh(list(loads), shares, left=left, label=_up_to(sizes, size), **look)
            left = [before + share for before, share in zip(left, shares, strict=True)]
        one.set_title(title)
        one.set_xlabel("% of the batches")
        one.invert_yaxis()
        one.grid(axis="y", visible=False)
    axes[0].set_ylabel("connections")
    style.legend(figure, axes)
    return figure
