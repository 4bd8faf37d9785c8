"""Labels: the names of a network's classes, in the order of its outputs."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bundle.errors import BundleError

HEADER = "index\tid\tlabel"
GROUPED_HEADER = f"{HEADER}\tgroup"


@dataclass(frozen=True)
class Label:
    """One class: its stable id (WordNet id, Places name) and a readable name.

    `group` is for label sets whose classes are of a few kinds, such as indoor and outdoor in Places365.
    """

    id: str
    name: str
    group: str | None = None


def to_tsv(labels: Sequence[Label]) -> str:
    """The text of `labels.tsv`: a header, then one row for each output. Labels with groups need a fourth column."""
    grouped = any(label.group is not None for label in labels)
    fields = ((label.id, label.name, label.group or "") if grouped else (label.id, label.name) for label in labels)
    rows = ("\t".join((str(index), *row)) for index, row in enumerate(fields))
    return "\n".join([GROUPED_HEADER if grouped else HEADER, *rows]) + "\n"


def from_tsv(text: str) -> tuple[Label, ...]:
    """The labels in the text of `labels.tsv`.

    Raises BundleError when a row is not `index⇥id⇥label` or `index⇥id⇥label⇥group` as the header states, when the
    indexes do not count up from 0, or when two ids are the same.
    """
    header, *rows = text.rstrip("\n").split("\n")
    if header not in (HEADER, GROUPED_HEADER):
        raise BundleError(
            f"A label table begins with {header!r}: its first line must be {HEADER!r} or {GROUPED_HEADER!r}."
        )
    columns = header.split("\t")
    labels = []
    for index, row in enumerate(rows):
        fields = row.split("\t")
        if len(fields) != len(columns) or fields[0] != str(index) or not fields[2]:
            wanted = "⇥".join((str(index), *columns[1:]))
            raise BundleError(f"Line {index + 2} of the label table is {row!r}: it must be '{wanted}'.")
        labels.append(Label(fields[1], fields[2], (fields[3:4] or [""])[0] or None))
    return _unique(labels)


def from_names(names: Iterable[str], known: Sequence[Label] = ()) -> tuple[Label, ...]:
    """A label for each name, in the same order. A name that is the id of a known label gets the name of that label.

    Raises BundleError where two names are the same.
    """
    by_id = {label.id: label for label in known}
    return _unique([by_id.get(name, Label(name, name)) for name in names])


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _unique(labels: Sequence[Label]) -> tuple[Label, ...]:
    repeated = [id for id, count in Counter(label.id for label in labels).items() if count > 1]
    if repeated:
        raise BundleError(f"Two labels have the id '{repeated[0]}': give each class its own.")
    return tuple(labels)
