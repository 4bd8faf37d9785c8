"""Figures: the measurement as the plots of Hu et al., "Squeeze-and-Excitation Networks" (arXiv 1709.01507).

Figure 6: the mean gate of each channel for some classes and for all. Figure 7: the same for two classes, with their
deviation within a class. And the specificity of each block by its depth.
"""

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from export.errors import ExportError
from export.excitation.measurement import Measurement
from export.excitation.statistics import BlockStatistics

_COLUMNS = 3
_WIDTH, _HEIGHT = 4.2, 2.6  # inches, of one plot
_SHADE = 0.2

Draw = Callable[[Any, BlockStatistics], None]


def require_matplotlib() -> None:
    """Raises ExportError, with the cure, where it is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ExportError("matplotlib is not installed: run `pip install '.[plots]'`, or give --csv.") from error


def by_class(measurement: Measurement, chosen: Sequence[int], format: str) -> bytes:
    """Figure 6. `chosen` are indexes into the measurement's classes."""

    def draw(axes: Any, block: BlockStatistics) -> None:
        for index in chosen:
            axes.plot(block.class_mean[index], linewidth=0.9, label=measurement.classes[index].name)
        axes.plot(block.mean, color="black", linewidth=1.2, label="all")

    return _grid(measurement.blocks, draw, "mean gate by channel", format)


def within_class(measurement: Measurement, chosen: Sequence[int], format: str) -> bytes:
    """Figure 7."""

    def draw(axes: Any, block: BlockStatistics) -> None:
        for index in chosen:
            mean, deviation = block.class_mean[index], block.class_deviation[index]
            (line,) = axes.plot(mean, linewidth=0.9, label=measurement.classes[index].name)
            axes.fill_between(
                np.arange(len(mean)), mean - deviation, mean + deviation, color=line.get_color(), alpha=_SHADE
            )

    return _grid(measurement.blocks, draw, "mean gate ± deviation within the class", format)


def specificity(measurement: Measurement, format: str) -> bytes:
    figure = _figure(2 * _WIDTH, 1.4 * _HEIGHT)
    axes = figure.add_subplot()
    names = [each.block.name for each in measurement.blocks]
    axes.plot(names, [each.specificity for each in measurement.blocks], marker="o", label="share between classes")
    axes.axhline(measurement.blocks[0].chance, color="black", linestyle=":", label="by chance")
    axes.set_ylim(0, 1)
    axes.set_ylabel("variance between classes / all")
    axes.tick_params("x", rotation=45 if len(names) < 30 else 90)
    axes.legend()
    return _saved(figure, format)


def _grid(blocks: Sequence[BlockStatistics], draw: Draw, what: str, format: str) -> bytes:
    rows = math.ceil(len(blocks) / _COLUMNS)
    figure = _figure(_COLUMNS * _WIDTH, rows * _HEIGHT + 0.5)
    all_axes = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    for axes, block in zip(all_axes, blocks, strict=False):
        draw(axes, block)
        axes.set_title(block.block.name, fontsize=9)
        axes.set_ylim(0, 1)
        axes.tick_params(labelsize=7)
    for axes in all_axes[len(blocks) :]:
        axes.set_axis_off()
    lines, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside upper center", ncols=len(labels), fontsize=9, title=what)
    return _saved(figure, format)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure((width, height), layout="constrained")


def _saved(figure: Any, format: str) -> bytes:
    """The same figure gives the same bytes."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "sesame"}):
        file = io.BytesIO()
        figure.savefig(file, format=format, dpi=110, metadata={"Date": None} if format == "svg" else None)
    return file.getvalue()
