"""Style: how all plots look, and how a figure becomes an SVG file that is the same whenever it is drawn."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, PAPER, RULE = "#1b1f24", "#ffffff", "#d0d7de"
DARK = {INK: "#e6edf3", PAPER: "#15181c", RULE: "#3a4149"}
"""What a reader's dark mode makes of these."""

COLOURS = ("#1f77d0", "#d55e00", "#009e73", "#aa4499", "#808080", "#a67c00")
"""Distinct for colour-blind readers too, and with a contrast of at least 3 on both kinds of paper."""

MARKERS = ("o", "s", "^", "D", "v", "P")
"""Of the same series, so that no plot needs colours to be read."""

_HATCHES = ("", "//", "\\\\", "xx", "--", "||", "++", "/")

_COLUMNS, _ROW_IN = 3, 0.2  # of a legend

_STYLE: Any = {
    "svg.hashsalt": "sesame",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # matplotlib brings it, so that places of texts are the same everywhere
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": PAPER,
    "axes.titlesize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": PAPER,
    "legend.frameon": False,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Figures are made and written in here, whatever the user has set for matplotlib."""
    with rc_context():
        rcdefaults()
        rcParams.update(_STYLE)
        yield


def panels(count: int, height_in: float = 3.4) -> tuple[Figure, list[Axes]]:
    """A figure with so many axes side by side. `height_in`: in inches."""
    figure = Figure(figsize=(8.4, height_in), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def bar_panels(count: int, bars: int) -> tuple[Figure, list[Axes]]:
    """The same for so many lying bars in each."""
    return panels(count, 1.1 + 0.45 * bars)


def bar(number: int) -> dict[str, Any]:
    """The look of the parts of bars: colour, and a pattern, so that no plot needs colours to be read."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "hatch": _HATCHES[number % len(_HATCHES)],
        "edgecolor": PAPER,
        "linewidth": 1,
        "height": 0.7,
    }


def legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """The series of all of its axes, below them."""
    series = {label: handle for one in axes for handle, label in zip(*one.get_legend_handles_labels(), strict=True)}
    rows = -(-len(series) // _COLUMNS)
    figure.set_figheight(figure.get_figheight() + _ROW_IN * rows)
    figure.legend(list(series.values()), list(series), loc="outside lower center", ncols=min(_COLUMNS, len(series)))


def svg(figure: Figure, title: str, description: str) -> str:
    """The figure as an SVG document with a title, for both modes."""
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = re.sub(r" *<metadata>.*?</metadata>\n", "", written.getvalue(), flags=re.DOTALL)
    head = f"<title>{escape(title)}</title>\n <desc>{escape(description)}</desc>\n <style>{_dark()}</style>\n"
    text = re.sub(r"(<svg [^>]*)>\n", rf'\1 role="img">\n {head}', text, count=1)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _dark() -> str:
    rules = (
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    return f"@media (prefers-color-scheme:dark){{{''.join(rules)}}}"
