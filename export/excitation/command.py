"""`python -m export excitations`: what the SE blocks of a bundle do, over labelled photos."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bundle import files
from bundle.atomic import write_atomically
from bundle.labels import Label
from export.errors import ExportError
from export.excitation import figures, tables
from export.excitation.measurement import Measurement, measure
from export.progress import Progress

NAME = "excitations"
HELP = "plot the gates of a bundle's SE blocks by class and by depth, over labelled photos"
_FIVE = 5
_NAMED = 2


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, help="the folder of a version, or of all versions for the highest")
    parser.add_argument("--photos", type=Path, required=True, help="a folder; its folders or files are named by class")
    parser.add_argument(
        "--classes",
        type=lambda text: [name.strip() for name in text.split(",") if name.strip()],
        metavar="LIST",
        help="ids or labels of the classes to plot (default: five of those in the folder); tables have all",
    )
    parser.add_argument(
        "--most", type=_positive, default=2000, help="run at most so many photos (default: %(default)s)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("excitations"), help="the folder to write to (default: %(default)s)"
    )
    parser.add_argument("--format", choices=("png", "svg"), default="png", help="of the figures (default: %(default)s)")
    parser.add_argument("--csv", action="store_true", help="write the tables only, which needs no matplotlib")


def excitations(arguments: argparse.Namespace) -> int:
    """Raises BundleError or ExportError; nothing is written then."""
    if not arguments.csv:
        figures.require_matplotlib()
    progress = Progress(2 if arguments.csv else 3)
    bundle = files.read(files.newest(arguments.bundle))
    chosen_labels = [_label(bundle.labels, name) for name in arguments.classes or ()]
    measurement = measure(bundle, arguments.photos, arguments.most, progress)
    chosen = _chosen(measurement, chosen_labels)
    contents = {"gates.csv": tables.gates(measurement), "specificity.csv": tables.specificity(measurement)}
    if not arguments.csv:
        progress.step("drawing")
        contents |= dict(_figures(measurement, chosen, arguments.format))
    for name, content in contents.items():
        write_atomically(arguments.output / name, content)
    print(_summary(measurement))
    return 0


def _figures(measurement: Measurement, chosen: Sequence[int], format: str) -> Iterator[tuple[str, bytes]]:
    draw: dict[str, Callable[[], bytes]] = {
        "by-class": lambda: figures.by_class(measurement, chosen, format),
        "within-class": lambda: figures.within_class(measurement, chosen[:_NAMED], format),
        "specificity": lambda: figures.specificity(measurement, format),
    }
    for name, drawn in draw.items():
        yield f"{name}.{format}", drawn()


def _label(labels: Sequence[Label], name: str) -> Label:
    found = [label for label in labels if name.casefold() in (label.id.casefold(), label.name.casefold())]
    if len(found) != 1:
        raise ExportError(
            f"{len(found) or 'No'} classes of this network are called '{name}': give ids or labels of its labels.tsv."
        )
    return found[0]


def _chosen(measurement: Measurement, labels: Sequence[Label]) -> list[int]:
    """Indexes of the classes to plot. By default five at even distances, of those with the most photos."""
    if absent := [label.name for label in labels if label not in measurement.classes]:
        raise ExportError(f"No photo shows '{absent[0]}': drop it from --classes, or add photos of it.")
    if labels:
        return [measurement.classes.index(label) for label in labels]
    most = max(measurement.photos)
    rich = [index for index, photos in enumerate(measurement.photos) if photos == most]
    rich = rich if len(rich) >= _NAMED else list(range(len(measurement.classes)))
    step = max(len(rich) / _FIVE, 1)
    return [rich[int(number * step)] for number in range(min(_FIVE, len(rich)))]


def _summary(measurement: Measurement) -> str:
    rows: list[tuple[str, ...]] = [("block", "channels", "mean gate", "between classes", "by chance", "above chance")]
    for each in measurement.blocks:
        numbers = each.mean.mean(), each.specificity, each.chance, each.above_chance
        rows.append((each.block.name, str(each.block.channels), *(f"{number:.3f}" for number in numbers)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _positive(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError("must be a whole number above 0")
    return int(text)
