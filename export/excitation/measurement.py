"""Measurement: a bundle's network over a folder of labelled photos, and the statistics of its gates."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundle.files import Bundle
from bundle.labels import Label
from explain.network import ExplainedNetwork
from export.errors import ExportError
from export.excitation.statistics import BlockStatistics, Sums
from export.progress import Progress
from export.proving import labelled
from export.proving.labelled import LabelledPhoto

_BATCH = 16


@dataclass(frozen=True)
class Measurement:
    """`classes` are those of the photos, in the order of the network's outputs; `photos` counts them by class."""

    bundle: Bundle
    classes: tuple[Label, ...]
    photos: tuple[int, ...]
    blocks: tuple[BlockStatistics, ...]


def measure(bundle: Bundle, folder: Path, most: int, progress: Progress) -> Measurement:
    """Raises ExportError where the photos are of fewer than two classes, or one cannot be decoded; BundleError where
    the bundle cannot be explained.
    """
    progress.step(f"opening {bundle.manifest.name}/{bundle.manifest.version}")
    network = ExplainedNetwork(bundle, threads=len(os.sched_getaffinity(0)))
    if not network.blocks:
        raise ExportError(f"The network of '{bundle.manifest.name}' has no SE blocks: there is no excitation.")
    photos = labelled.find(folder, bundle.labels, most)
    counts = Counter(photo.id for photo in photos)
    if len(counts) < 2:
        raise ExportError("All photos are of one class: give photos of several, to compare them.")
    classes = tuple(label for label in bundle.labels if label.id in counts)
    progress.step(f"running {len(photos)} photos of {len(classes)} classes")
    sums = [Sums(block, len(classes)) for block in network.blocks]
    numbers = {label.id: number for number, label in enumerate(classes)}
    for done, batch in _batches(photos):
        inside = network.run(labelled.load_pixels(batch, bundle.manifest.preprocessing))
        for of_block, gates in zip(sums, inside.gates, strict=True):
            of_block.add(gates, [numbers[photo.id] for photo in batch])
        progress.advance(done, len(photos))
    blocks = tuple(of_block.statistics() for of_block in sums)
    return Measurement(bundle, classes, tuple(counts[label.id] for label in classes), blocks)


def _batches(photos: Sequence[LabelledPhoto]) -> Iterator[tuple[int, Sequence[LabelledPhoto]]]:
    """With the number of photos that are done after each."""
    for start in range(0, len(photos), _BATCH):
        yield min(start + _BATCH, len(photos)), photos[start : start + _BATCH]
