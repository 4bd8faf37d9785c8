"""Dataset: Tiny ImageNet, decoded from its folder into arrays in memory."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]  # (n, height, width, 3), RGB
Listing = list[tuple[str, Path]]  # WordNet id, file

SIDE = 64
"""Width and height of every photo of Tiny ImageNet, in pixels."""

_CHUNK = 500  # photos that one thread decodes at a time
_FLAT_NAME = re.compile(r"(n\d{8})_\d+")


class RecipeError(Exception):
    """The training cannot start or continue. The message is one sentence: the fault, and the cure."""


@dataclass(frozen=True)
class Split:
    """The photos for training, or those for validation: pixels (n, 64, 64, 3) uint8, class indexes (n,) int64."""

    pixels: Pixels
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class TinyImageNet:
    """Both splits of the dataset. `classes` are WordNet ids in sorted order, the order of the network's outputs."""

    classes: tuple[str, ...]
    train: Split
    val: Split


def read(folder: Path) -> TinyImageNet:
    """Decode all photos in a folder. The 110 000 photos of the official Tiny ImageNet need 1.3 GB of memory.

    Two layouts are supported: the official one (cs231n.stanford.edu/tiny-imagenet-200.zip, unzipped), and the folders
    `train` and `val` with files `<WordNet id>_<number>.JPEG`. Raises RecipeError when the folder has neither layout, or
    is incomplete.
    """
    for split in ("train", "val"):
        if not (folder / split).is_dir():
            raise _rejection(folder, f"it has no folder '{split}'")
    flat = next((folder / "train").glob("*.JPEG"), None) is not None
    train = _flat(folder, "train") if flat else _official_train(folder)
    val = _flat(folder, "val") if flat else _official_val(folder)
    classes = tuple(sorted({wnid for wnid, _ in train} if flat else _lines(folder, "wnids.txt")))
    _check(folder, classes, train, val)
    return TinyImageNet(classes, _decode(train, classes), _decode(val, classes))


def _rejection(folder: Path, reason: str) -> RecipeError:
    return RecipeError(
        f"'{folder}' is not a complete Tiny ImageNet: {reason}; give the folder that tiny-imagenet-200.zip unzips to."
    )


def _flat(folder: Path, split: str) -> Listing:
    listing = []
    for file in sorted((folder / split).glob("*.JPEG")):
        named = _FLAT_NAME.fullmatch(file.stem)
        if not named:
            raise _rejection(folder, f"'{split}/{file.name}' is not named <WordNet id>_<number>.JPEG")
        listing.append((named[1], file))
    return listing


def _official_train(folder: Path) -> Listing:
    return [(file.parent.parent.name, file) for file in sorted((folder / "train").glob("*/images/*.JPEG"))]


def _official_val(folder: Path) -> Listing:
    listing = []
    for number, line in enumerate(_lines(folder, "val/val_annotations.txt"), start=1):
        name, tab, rest = line.partition("\t")
        if not tab:
            raise _rejection(folder, f"line {number} of val/val_annotations.txt has no tab")
        listing.append((rest.split("\t")[0], folder / "val" / "images" / name))
    return listing


def _lines(folder: Path, name: str) -> list[str]:
    if not (folder / name).is_file():
        raise _rejection(folder, f"it has no file '{name}'")
    return [line for line in (folder / name).read_text("ascii", errors="replace").splitlines() if line.strip()]


def _check(folder: Path, classes: tuple[str, ...], train: Listing, val: Listing) -> None:
    shown = {wnid for wnid, _ in train}
    unseen = [wnid for wnid in classes if wnid not in shown]
    unknown = sorted({wnid for wnid, _ in (*train, *val)} - set(classes))
    if unseen:
        raise _rejection(folder, f"'train' has no photo of class {unseen[0]}")
    if unknown:
        raise _rejection(folder, f"it has photos of {unknown[0]}, which is not among its classes")
    for split, listing in (("train", train), ("val", val)):
        if not listing:
            raise _rejection(folder, f"'{split}' holds no photos")


def _decode(listing: Listing, classes: tuple[str, ...]) -> Split:
    index = {wnid: number for number, wnid in enumerate(classes)}
    pixels = np.empty((len(listing), SIDE, SIDE, 3), np.uint8)

    def decode_chunk(start: int) -> None:
        for position, (_, file) in enumerate(listing[start : start + _CHUNK], start):
            pixels[position] = _photo(file)

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(decode_chunk, range(0, len(listing), _CHUNK)):
            pass
    return Split(pixels, np.array([index[wnid] for wnid, _ in listing], np.int64))


def _photo(file: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(file) as image:
            if image.size == (SIDE, SIDE):
                return np.asarray(image.convert("RGB"))
            size = image.size
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
        raise RecipeError(f"'{file}' cannot be read as a photo: unzip the data set again.") from error
    raise RecipeError(
        f"'{file}' is {size[0]}x{size[1]} pixels, but photos of Tiny ImageNet are {SIDE}x{SIDE}: "
        "unzip the data set again."
    )
