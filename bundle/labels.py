"""Labels: the name of each of a network's outputs, in output order."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundle.errors import BundleError

HEADER = "index\tid\tlabel"
IMAGENET = "imagenet-1k"
_IMAGENET_FILE = Path(__file__).with_name("imagenet-1k.tsv")
"""Index, WordNet id and lemmas of the 1000 classes, sorted by WordNet id: facts of WordNet 3.0 and ILSVRC 2012.
WordNet knows both cranes by that one lemma, so the file adds what each is."""


@dataclass(frozen=True)
class Label:
    """One class: its stable id (WordNet id, Places name) and the name that people read."""

    id: str
    name: str


def to_tsv(labels: Sequence[Label]) -> str:
    """`labels.tsv`: a header, then one row per output."""
    rows = (f"{index}\t{label.id}\t{label.name}" for index, label in enumerate(labels))
    return "\n".join([HEADER, *rows]) + "\n"


def from_tsv(text: str) -> tuple[Label, ...]:
    """Raises BundleError when a row is not `index⇥id⇥label`, or the indexes do not count up from 0."""
    header, *rows = text.rstrip("\n").split("\n")
    if header != HEADER:
        raise BundleError(f"A label table must begin with the line {HEADER!r}, not {header!r}.")
    labels = []
    for index, row in enumerate(rows):
        fields = row.split("\t")
        if len(fields) != 3 or fields[0] != str(index) or not fields[2]:
            raise BundleError(f"Line {index + 2} of the label table must be '{index}⇥id⇥label', not {row!r}.")
        labels.append(Label(fields[1], fields[2]))
    return tuple(labels)


def imagenet() -> tuple[Label, ...]:
    """The 1000 classes of ImageNet-1k in sorted WordNet-id order."""
    rows = [row.split("\t") for row in _IMAGENET_FILE.read_text(encoding="utf-8").splitlines()[1:]]
    names = _distinct([lemmas.split(", ") for _, _, lemmas in rows])
    return tuple(Label(wordnet_id, name) for (_, wordnet_id, _), name in zip(rows, names, strict=True))


def from_file(path: Path) -> tuple[Label, ...]:
    """Labels from a user's file: a table as `labels.tsv`, or one class per line in output order.

    Lines that are WordNet ids of ImageNet-1k get their readable names. Raises BundleError when it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"The label file '{path}' cannot be read as UTF-8 text: {error}.") from error
    if text.startswith(HEADER):
        return from_tsv(text.replace("\r\n", "\n"))
    lines = text.strip().splitlines()
    if not lines or not all(line.strip() for line in lines):
        raise BundleError(f"The label file '{path}' must have one class per line, and no empty line.")
    known = {label.id: label for label in imagenet()}
    return tuple(known.get(name := line.strip().replace("\t", " "), Label(name, name)) for line in lines)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _distinct(names: Iterable[Sequence[str]]) -> list[str]:
    """The first lemma of each class, with the next in brackets where two classes share it (crane, maillot)."""
    names = list(names)
    shared = Counter(lemmas[0] for lemmas in names)
    return [lemmas[0] if shared[lemmas[0]] == 1 else _told_apart(lemmas) for lemmas in names]


def _told_apart(lemmas: Sequence[str]) -> str:
    return f"{lemmas[0]} ({lemmas[1]})" if len(lemmas) > 1 else lemmas[0]
