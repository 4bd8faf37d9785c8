"""Convert: a checkpoint becomes a bundle, or one sentence says why not."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from bundle import files, labels
from bundle.images import Pixels
from bundle.labels import Label
from bundle.manifest import (
    SCHEMA,
    Architecture,
    Graph,
    LabelsRow,
    Manifest,
    ParityRow,
    Preprocessing,
    SEBlockRow,
    Source,
)
from bundle.predictions import Probabilities
from bundle.probe import Probe
from export import graph, judge, proof, quantise, samples
from export.card import card
from export.errors import ExportError
from export.graph import ServedNetwork
from export.judge import Photos
from export.precisions import Further, Refused, further
from export.progress import Progress
from export.wishes import Wishes, preprocessing
from models import complexity
from models.fit import Fit
from models.se import block_name, se_modules
from models.trained import Trained, understand

STEPS = 6


@dataclass(frozen=True)
class _Wished:
    """A checkpoint as the user wants it served: the network, what goes in and what comes out."""

    trained: Trained
    served: ServedNetwork
    fit: Fit
    label_set: str
    labels: Sequence[Label]
    url: str | None

    @property
    def preprocessing(self) -> Preprocessing:
        return preprocessing(self.fit)


@dataclass(frozen=True)
class Converted:
    """The bundle's folder, and the precisions that cost too much to be in it."""

    path: Path
    refused: tuple[Refused, ...]


def convert(path: Path, wishes: Wishes, progress: Progress, url: str | None = None) -> Converted:
    """Write a bundle for the checkpoint. `url` is where the file was fetched from.

    Raises CheckpointError, BundleError or ExportError, each a sentence with its cure; then nothing was written.
    """
    notes = wishes.card_notes()
    files.demand_writable(wishes.bundles, wishes.name)
    progress.step(f"reading {path.name}")
    wished = _wished(path, wishes, url)
    fit, trained = wished.preprocessing, wished.trained
    progress.step("preparing images to compare on")
    photos = _photos(wishes, wished)
    pixels = _compared(wishes, photos, fit)
    progress.step(f"exporting {trained.design.name} from {trained.source.taken} ({trained.format} names)")
    model = graph.to_onnx(wished.served, fit.height, fit.width)
    progress.step(f"running the torch network on {len(pixels)} images")
    reference = proof.torch_probabilities(wished.served, pixels, progress.advance)
    proof.demand_telling(reference)
    progress.step("comparing the graph with it")
    compared = reference[: samples.MOST_COMPARED]
    parity = _proven(model, pixels[: samples.MOST_COMPARED], compared, wishes.compared_on, progress)
    outcomes = list(further(wishes.precisions, model, photos, reference, progress)) if photos else []
    progress.step(f"writing the bundle: max |Δp| {parity.max_dp:.1e}, max |Δ log p| {parity.max_dlogp:.1e}")
    chosen = np.linspace(0, len(pixels) - 1, samples.PROBE_IMAGES, dtype=int)  # folders are often classes
    probe = Probe(pixels[chosen], reference[chosen])
    more = [outcome for outcome in outcomes if isinstance(outcome, Further)]
    written = _written(wished, model, probe, (parity,), more, wishes, notes)
    return Converted(written, tuple(outcome for outcome in outcomes if isinstance(outcome, Refused)))


def _photos(wishes: Wishes, wished: _Wished) -> Photos | None:
    """What lower precisions are calibrated and judged on; None where only fp32 is wished."""
    if wishes.precisions == ("fp32",):
        if wishes.calibrate or wishes.judge:
            raise ExportError("--calibrate and --judge are for further precisions: say which with --precision.")
        return None
    if wishes.photos:
        raise ExportError("With further precisions the fp32 graph is compared on the judged photos: drop --photos.")
    if wishes.calibrate is None:
        raise ExportError("Precisions besides fp32 need photos: give a folder with --calibrate DIR.")
    return judge.photos(wishes.calibrate, wishes.judge, wished.labels, wished.preprocessing)


def _compared(wishes: Wishes, photos: Photos | None, fit: Preprocessing) -> Pixels:
    """The images that the graph is compared on; their first ones become the bundle's probe."""
    if photos:
        return photos.judged
    return samples.photos(wishes.photos, fit) if wishes.photos else samples.generated(fit.height, fit.width)


def architecture(trained: Trained, network: ServedNetwork, size: int) -> Architecture:
    """The manifest's row on a network of that input size in pixels. Raises ExportError where it takes no such input."""
    return Architecture(
        name=trained.design.name,
        variant=trained.design.traits.variant,
        stem=trained.design.traits.stem,
        parameters=complexity.parameters(network),
        macs=_multiply_adds(trained, network, size),
        se_blocks=tuple(
            SEBlockRow(block_name(name), channels, squeezed) for name, channels, squeezed in se_modules(network.network)
        ),
    )


def _multiply_adds(trained: Trained, network: ServedNetwork, size: int) -> int:
    try:
        return complexity.multiply_adds(network.network, size, size)
    except RuntimeError as error:  # torch's word for shapes that do not meet
        raise ExportError(
            f"A {trained.design.name} takes no {size}x{size} pixels: give the size that it was trained with, --size."
        ) from error


def _wished(path: Path, wishes: Wishes, url: str | None) -> _Wished:
    trained = understand(path, wishes.told)
    fit = wishes.fit(trained.fit)
    served = ServedNetwork(trained.network(), fit.mean, fit.std, fit.bgr).eval()
    preprocessing(fit)  # this and the next line raise before long work
    _multiply_adds(trained, served, fit.size)
    return _Wished(trained, served, fit, *wishes.label_table(trained), url)


def _proven(
    model: bytes, pixels: Pixels, reference: Probabilities, inputs: Literal["photos", "generated"], to: Progress
) -> ParityRow:
    parity = proof.demand_parity(reference, proof.onnx_probabilities(model, pixels, to.advance))
    return ParityRow(
        file="model.onnx", engine="onnxruntime-cpu", precision="fp32", inputs=inputs, **dataclasses.asdict(parity)
    )


def _graph(file: str, model: bytes, precision: str, opset: int) -> Graph:
    largest = quantise.largest_weight(model) if precision == "int8" else None
    return Graph(file, hashlib.sha256(model).hexdigest(), len(model), precision, opset, largest)


def _written(
    wished: _Wished,
    model: bytes,
    probe: Probe,
    parity: tuple[ParityRow, ...],
    more: Sequence[Further],
    wishes: Wishes,
    notes: str | None,
) -> Path:
    table, probe_file = labels.to_tsv(wished.labels), probe.to_bytes()
    source, layout = wished.trained.source, wished.trained.format
    graphs = {"model.onnx": (model, "fp32", graph.OPSET)}
    graphs |= {extra.file: (extra.model, extra.precision, extra.opset) for extra in more if extra.model}
    manifest = Manifest(
        schema=SCHEMA,
        name=wishes.name or wished.trained.design.name,
        version="",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        architecture=architecture(wished.trained, wished.served, wished.fit.size),
        source=Source(source.file, source.sha256, layout, source.taken, wished.url),
        preprocessing=wished.preprocessing,
        labels=LabelsRow(wished.label_set, len(wished.labels), labels.sha256(table)),
        graphs=tuple(_graph(file, content, precision, opset) for file, (content, precision, opset) in graphs.items()),
        parity=(*parity, *(row for extra in more for row in extra.rows)),
        probe_sha256=hashlib.sha256(probe_file).hexdigest(),
        tools={tool: version(tool) for tool in ("sesame", "torch", "onnx", "onnxscript", "onnxruntime")},
    )
    text = card(manifest, notes)
    contents = {"labels.tsv": table.encode(), "probe.npz": probe_file, "CARD.md": text.encode()}
    contents |= {file: content for file, (content, _, _) in graphs.items()}
    return files.write(wishes.bundles, manifest, contents)
