"""Labels: the name of each of a network's outputs, in output order."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bundle.errors import BundleError

HEADER = "index\tid\tlabel"
GROUPED_HEADER = f"{HEADER}\tgroup"


@dataclass(frozen=True)
class Label:
    """One class: its stable id (WordNet id, Places name), the name that people read, and what it is one of.

    `group` is for sets whose classes fall into a few kinds, as Places365's indoor and outdoor.
    """

    id: str
    name: str
    group: str | None = None


def to_tsv(labels: Sequence[Label]) -> str:
    """`labels.tsv`: a header, then one row per output, with a fourth column where the labels have groups."""
    grouped = any(label.group is not None for label in labels)
    fields = ((label.id, label.name, label.group or "") if grouped else (label.id, label.name) for label in labels)
    rows = ("\t".join((str(index), *row)) for index, row in enumerate(fields))
    return "\n".join([GROUPED_HEADER if grouped else HEADER, *rows]) + "\n"


def from_tsv(text: str) -> tuple[Label, ...]:
    """Raises BundleError when a row is not `index⇥id⇥label` or `index⇥id⇥label⇥group`, as the header says.

    The indexes must count up from 0, and no two ids be the same.
    """
    header, *rows = text.rstrip("\n").split("\n")
    if header not in (HEADER, GROUPED_HEADER):
        raise BundleError(f"A label table must begin with the line {HEADER!r} or {GROUPED_HEADER!r}, not {header!r}.")
    columns = header.split("\t")
    labels = []
    for index, row in enumerate(rows):
        fields = row.split("\t")
        if len(fields) != len(columns) or fields[0] != str(index) or not fields[2]:
            wanted = "⇥".join((str(index), *columns[1:]))
            raise BundleError(f"Line {index + 2} of the label table must be '{wanted}', not {row!r}.")
        labels.append(Label(fields[1], fields[2], (fields[3:4] or [""])[0] or None))
    return _without_twins(labels)


def from_names(names: Iterable[str], known: Sequence[Label] = ()) -> tuple[Label, ...]:
    """A label for each name, in their order; names that are ids of known labels get the label's own name.

    Raises BundleError where two are the same.
    """
    by_id = {label.id: label for label in known}
    return _without_twins([by_id.get(name, Label(name, name)) for name in names])


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _without_twins(labels: Sequence[Label]) -> tuple[Label, ...]:
    twins = [id for id, count in Counter(label.id for label in labels).items() if count > 1]
    if twins:
        raise BundleError(f"Two labels are called '{twins[0]}': every class needs a name of its own.")
    return tuple(labels)
