"""Label sets: the labels of known data sets, in the orders that networks use, and the labels in a user's file."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

from bundle import labels
from bundle.errors import BundleError
from bundle.labels import Label

IMAGENET = "imagenet-1k"
_FOLDER = Path(__file__).with_name("sets")
_CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def named(name: str) -> tuple[Label, ...]:
    """The labels of a set. Raises KeyError for a name that is not in SETS."""
    return SETS[name]()


def for_count(classes: int) -> str | None:
    """The label set that a network with so many classes usually has. None where the number does not show it."""
    return {1000: IMAGENET, 1001: "imagenet-1k-background", 365: "places365"}.get(classes)


def from_file(path: Path) -> tuple[Label, ...]:
    """Labels from a user's file: a table like `labels.tsv`, or one class per line in output order.

    Lines that are WordNet ids of ImageNet-1k get readable names. Raises BundleError when the file cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(
            f"The label file '{path}' cannot be read as UTF-8 text ({error}): give a file, or one of {', '.join(SETS)}."
        ) from error
    if text.startswith(labels.HEADER):
        return labels.from_tsv(text)
    lines = [line.strip() for line in text.strip().split("\n")]
    if not all(lines):
        raise BundleError(f"The label file '{path}' has an empty line: write one class per line, in output order.")
    if any("\t" in line for line in lines):
        raise BundleError(f"The label file '{path}' has tabs: begin it with the line {labels.HEADER!r}, or drop them.")
    return labels.from_names(lines, imagenet())


@cache
def imagenet() -> tuple[Label, ...]:
    """The 1000 classes of ImageNet-1k, sorted by WordNet id: the order of nearly all networks.

    WordNet ids and lemmas are those of WordNet 3.0 and ILSVRC 2012. WordNet has one lemma for both kinds of crane, so
    the file adds which kind each is.
    """
    rows = _rows("imagenet-1k.tsv")
    names = _distinct([lemmas.split(", ") for _, _, lemmas in rows])
    return tuple(Label(wordnet_id, name) for (_, wordnet_id, _), name in zip(rows, names, strict=True))


def _devkit() -> tuple[Label, ...]:
    """In the order of the ILSVRC development kit: the order of the original Caffe networks of the SE paper."""
    known = {label.id: label for label in imagenet()}
    text = (_FOLDER / "imagenet-1k-devkit.txt").read_text(encoding="utf-8")
    return tuple(known[wordnet_id] for wordnet_id in text.split())


def _background() -> tuple[Label, ...]:
    """With a first class for everything else: the order of TensorFlow's networks."""
    return (Label("background", "background"), *imagenet())


def _places() -> tuple[Label, ...]:
    """The classes of Places365, in the groups indoor and outdoor. Source: CSAILVision/places365 (MIT licence)."""
    return tuple(Label(name, _readable(name), group) for _, name, group in _rows("places365.tsv"))


def _cifar() -> tuple[Label, ...]:
    return labels.from_names(_CIFAR)


SETS: dict[str, Callable[[], tuple[Label, ...]]] = {
    IMAGENET: imagenet,
    "imagenet-1k-devkit": _devkit,
    "imagenet-1k-background": _background,
    "places365": _places,
    "cifar-10": _cifar,
}


def _rows(file: str) -> list[list[str]]:
    lines = (_FOLDER / file).read_text(encoding="utf-8").rstrip("\n").split("\n")
    return [line.split("\t") for line in lines[1:]]


def _readable(place: str) -> str:
    """arena (hockey) for `arena/hockey`, airplane cabin for `airplane_cabin`."""
    scene, _, kind = place.replace("_", " ").partition("/")
    return f"{scene} ({kind})" if kind else scene


def _distinct(names: Iterable[Sequence[str]]) -> list[str]:
    """The first lemma of each class, with the second in brackets where two classes share the first (crane, maillot)."""
    names = list(names)
    shared = Counter(lemmas[0] for lemmas in names)
    return [lemmas[0] if shared[lemmas[0]] == 1 else _with_second(lemmas) for lemmas in names]


def _with_second(lemmas: Sequence[str]) -> str:
    return f"{lemmas[0]} ({lemmas[1]})" if len(lemmas) > 1 else lemmas[0]
