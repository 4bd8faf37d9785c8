"""Photos: Tiny ImageNet, decoded from its folder into arrays in memory."""

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
"""Of every Tiny ImageNet photo, in pixels."""

_CHUNK = 500  # photos that one thread decodes at a time
_FLAT_NAME = re.compile(r"(n\d{8})_\d+")


class RecipeError(Exception):
    """The training cannot begin or go on; the message is one sentence that names the fault and the cure."""


@dataclass(frozen=True)
class Photos:
    """Decoded photos and the index of each one's class: (n, 64, 64, 3) uint8 and (n,) int64."""

    pixels: Pixels
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class TinyImageNet:
    """Both halves of the data set. `classes` are WordNet ids, sorted: the order of the network's outputs."""

    classes: tuple[str, ...]
    train: Photos
    val: Photos


def read(folder: Path) -> TinyImageNet:
    """Decode a whole Tiny ImageNet: 1.3 GB of memory for the 110 000 photos of the official one.

    Two layouts are known: the official one (cs231n.stanford.edu/tiny-imagenet-200.zip, unzipped) and flat folders of
    `<WordNet id>_<number>.JPEG`. Raises RecipeError when the folder is neither, or is incomplete.
    """
    for half in ("train", "val"):
        if not (folder / half).is_dir():
            raise _unfit(folder, f"it has no folder '{half}'")
    flat = next((folder / "train").glob("*.JPEG"), None) is not None
    train = _flat(folder, "train") if flat else _official_train(folder)
    val = _flat(folder, "val") if flat else _official_val(folder)
    classes = tuple(sorted({wnid for wnid, _ in train} if flat else _lines(folder, "wnids.txt")))
    _check(folder, classes, train, val)
    return TinyImageNet(classes, _photos(train, classes), _photos(val, classes))


def _unfit(folder: Path, reason: str) -> RecipeError:
    return RecipeError(
        f"'{folder}' is not a whole Tiny ImageNet: {reason}; give the folder that tiny-imagenet-200.zip unzips to."
    )


def _flat(folder: Path, half: str) -> Listing:
    listing = []
    for file in sorted((folder / half).glob("*.JPEG")):
        named = _FLAT_NAME.fullmatch(file.stem)
        if not named:
            raise _unfit(folder, f"'{half}/{file.name}' is not named <WordNet id>_<number>.JPEG")
        listing.append((named[1], file))
    return listing


def _official_train(folder: Path) -> Listing:
    return [(file.parent.parent.name, file) for file in sorted((folder / "train").glob("*/images/*.JPEG"))]


def _official_val(folder: Path) -> Listing:
    listing = []
    for number, line in enumerate(_lines(folder, "val/val_annotations.txt"), start=1):
        name, tab, rest = line.partition("\t")
        if not tab:
            raise _unfit(folder, f"line {number} of val/val_annotations.txt has no tab")
        listing.append((rest.split("\t")[0], folder / "val" / "images" / name))
    return listing


def _lines(folder: Path, name: str) -> list[str]:
    if not (folder / name).is_file():
        raise _unfit(folder, f"it has no file '{name}'")
    return [line for line in (folder / name).read_text("ascii", errors="replace").splitlines() if line.strip()]


def _check(folder: Path, classes: tuple[str, ...], train: Listing, val: Listing) -> None:
    shown = {wnid for wnid, _ in train}
    unseen = [wnid for wnid in classes if wnid not in shown]
    unknown = sorted({wnid for wnid, _ in (*train, *val)} - set(classes))
    if unseen:
        raise _unfit(folder, f"'train' has no photo of class {unseen[0]}")
    if unknown:
        raise _unfit(folder, f"it has photos of {unknown[0]}, which is not among its classes")
    for half, listing in (("train", train), ("val", val)):
        if not listing:
            raise _unfit(folder, f"'{half}' holds no photos")


def _photos(listing: Listing, classes: tuple[str, ...]) -> Photos:
    index = {wnid: number for number, wnid in enumerate(classes)}
    pixels = np.empty((len(listing), SIDE, SIDE, 3), np.uint8)

    def decode(start: int) -> None:
        for place, (_, file) in enumerate(listing[start : start + _CHUNK], start):
            pixels[place] = _picture(file)

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(decode, range(0, len(listing), _CHUNK)):
            pass
    return Photos(pixels, np.array([index[wnid] for wnid, _ in listing], np.int64))


def _picture(file: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(file) as image:
            if image.size == (SIDE, SIDE):
                return np.asarray(image.convert("RGB"))
            size = image.size
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
        raise RecipeError(f"'{file}' cannot be read as a photo: unzip the data set again.") from error
    raise RecipeError(f"'{file}' is {size[0]}x{size[1]} pixels, but all photos of Tiny ImageNet are {SIDE}x{SIDE}.")
