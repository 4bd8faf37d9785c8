"""Page: the plots of all results as files: one of Markdown, and an SVG for each plot."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from bench.report import batches, curves, stages, style
from bench.report.plot import Missing, Plot

PAGE = "plots.md"

_SECTIONS: Mapping[str, Sequence[tuple[str, Callable[[Any], list[Plot | Missing]]]]] = {
    "Throughput and latency": (
        ("load.json", curves.of_load),
        ("triton.json", curves.of_triton),
        ("peers.json", curves.of_peers),
    ),
    "Batch sizes": (("engines.json", batches.of_engines), ("load.json", batches.of_load)),
    "Stage times": (("load.json", stages.of_load),),
}
"""Which results each section is drawn from."""

_HEAD = """# Benchmarks as plots

The figures of [Benchmarks](../benchmarks.md), which says what they mean and on which machine each was measured, drawn
from the files in `bench/results` by `make bench-report`. The table under each plot has what is plotted."""


def files(results: Path) -> dict[str, str]:
    """All files of the report by name. Raises OSError or ValueError where a result cannot be read."""
    parts, missing, written = [_HEAD], [], {}
    with style.drawing():
        for section, sources in _SECTIONS.items():
            parts.append(f"## {section}")
            for name, plots in sources:
                for plot in plots(json.loads((results / name).read_text(encoding="utf-8"))):
                    if isinstance(plot, Missing):
                        missing.append(plot)
                        continue
                    written[f"{plot.name}.svg"] = style.svg(plot.draw(), plot.title, plot.alt)
                    parts.append(_markdown(plot, name))
    if missing:
        parts.append("## Not drawn")
        parts.append("\n".join(f"- {each.title}: {each.why}." for each in missing))
    parts.append(f"<!-- matplotlib {matplotlib.__version__}; {'; '.join(inputs(results))} -->")
    return {**written, PAGE: "\n\n".join(parts) + "\n"}


def inputs(results: Path) -> list[str]:
    """Name and SHA-256 of each file that is drawn."""
    names = sorted({name for sources in _SECTIONS.values() for name, _ in sources})
    return [f"{name} {hashlib.sha256((results / name).read_bytes()).hexdigest()}" for name in names]


def _markdown(plot: Plot, source: str) -> str:
    titles, *rows = plot.table
    lines = [f"| {' | '.join(row)} |" for row in (titles, ["---"] * len(titles), *rows)]
    return "\n\n".join(
        [
            f"### {plot.title}",
            f"![{plot.alt}]({plot.name}.svg)",
            f"{plot.notes} [All figures](../../bench/results/{source}).",
            "\n".join(lines),
        ]
    )
