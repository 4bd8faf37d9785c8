"""Tables: the measurement as CSV."""

import csv
import io
from collections.abc import Iterable, Iterator

from export.excitation.measurement import Measurement

ALL = "all"


def gates(measurement: Measurement) -> bytes:
    """One row for each block, class and channel; `class` is an id, or `all`."""
    return _csv(("block", "class", "label", "channel", "mean", "deviation"), _gate_rows(measurement))


def specificity(measurement: Measurement) -> bytes:
    """One row for each block, in the order of the network."""
    rows = (
        (each.block.name, each.block.channels, *map(_digits, (each.specificity, each.chance, each.above_chance)))
        for each in measurement.blocks
    )
    return _csv(("block", "channels", "specificity", "chance", "above_chance"), rows)


def _gate_rows(measurement: Measurement) -> Iterator[tuple[object, ...]]:
    for each in measurement.blocks:
        for channel in range(each.block.channels):
            mean, deviation = each.mean[channel], each.deviation[channel]
            yield each.block.name, ALL, ALL, channel, _digits(mean), _digits(deviation)
        for number, label in enumerate(measurement.classes):
            for channel in range(each.block.channels):
                mean, deviation = each.class_mean[number, channel], each.class_deviation[number, channel]
                yield each.block.name, label.id, label.name, channel, _digits(mean), _digits(deviation)


def _digits(value: float) -> str:
    return f"{value:.6f}"


def _csv(header: Iterable[object], rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()
