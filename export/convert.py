"""Convert: writes a bundle for a checkpoint, or raises an error that says why it cannot."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from bundle import draft, labels
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
from export import triton_files
from export.card import card
from export.errors import ExportError
from export.graphs import graph, inner_tensors, int8
from export.graphs.graph import ServedNetwork
from export.options import ConvertOptions, preprocessing
from export.precisions import AddedPrecision, RefusedPrecision, add_precisions
from export.progress import Progress
from export.proving import accuracy_gate, reference_runs, samples
from export.proving.accuracy_gate import GatePhotos
from models import complexity
from models.evaluation import EvaluationTransform
from models.networks.se import block_name, se_modules
from models.trained import Trained, understand

STEPS = 6


@dataclass(frozen=True)
class _Conversion:
    """A checkpoint with all that its bundle is made of: network, preprocessing and labels.

    `url` is where the checkpoint was fetched from.
    """

    trained: Trained
    served: ServedNetwork
    transform: EvaluationTransform
    label_set: str
    labels: Sequence[Label]
    url: str | None

    @property
    def preprocessing(self) -> Preprocessing:
        return preprocessing(self.transform)


@dataclass(frozen=True)
class Converted:
    """The bundle's folder, the precisions that were left out because they cost too much accuracy, and what the user
    should know of the files for NVIDIA's Triton beside it.
    """

    path: Path
    refused: tuple[RefusedPrecision, ...]
    warnings: tuple[str, ...]


def convert(path: Path, options: ConvertOptions, progress: Progress, url: str | None = None) -> Converted:
    """Write a bundle for the checkpoint at `path`. `url` is where the file was fetched from.

    Raises CheckpointError, BundleError or ExportError with the cure; nothing is written then.
    """
    notes = options.card_notes()
    draft.check_writable(options.model_repository, options.name)
    progress.step(f"reading {path.name}")
    conversion = _prepare(path, options, url)
    size, trained = conversion.preprocessing, conversion.trained
    progress.step("preparing images for the comparison")
    photos = _gate_photos(options, conversion)
    pixels = _comparison_images(options, photos, conversion.preprocessing)
    progress.step(f"exporting {trained.design.name} from {trained.source.taken} ({trained.format} names)")
    model = graph.to_onnx(conversion.served, size.height, size.width)
    progress.step(f"running the torch network on {len(pixels)} images")
    reference = reference_runs.torch_probabilities(conversion.served, pixels, progress.advance)
    reference_runs.require_varied_answers(reference)
    progress.step("comparing the exported graph with the torch network")
    compared = reference[: samples.MOST_COMPARED]
    parity = _prove(model, pixels[: samples.MOST_COMPARED], compared, options.compared_on, progress)
    outcomes = list(add_precisions(options.precisions, model, photos, reference, progress)) if photos else []
    progress.step(f"writing the bundle: max |Δp| {parity.max_dp:.1e}, max |Δ log p| {parity.max_dlogp:.1e}")
    chosen = np.linspace(0, len(pixels) - 1, samples.PROBE_IMAGES, dtype=int)  # evenly: folders are often classes
    probe = Probe(pixels[chosen], reference[chosen])
    added = [outcome for outcome in outcomes if isinstance(outcome, AddedPrecision)]
    written = _write(conversion, model, probe, (parity,), added, options, notes)
    refused = tuple(outcome for outcome in outcomes if isinstance(outcome, RefusedPrecision))
    return Converted(written, refused, triton_files.write(written.parent))


def _gate_photos(options: ConvertOptions, conversion: _Conversion) -> GatePhotos | None:
    """The photos that precisions besides fp32 are calibrated and judged on; None where there is only fp32."""
    if options.precisions == ("fp32",):
        if options.calibrate or options.judge:
            raise ExportError("--calibrate and --judge are for precisions besides fp32: name them with --precision.")
        return None
    if options.photos:
        raise ExportError(
            "With precisions besides fp32 the fp32 graph is compared on the photos of --judge or --calibrate: "
            "drop --photos."
        )
    if options.calibrate is None:
        raise ExportError("Precisions besides fp32 need photos: give a folder with --calibrate DIR.")
    return accuracy_gate.load_photos(options.calibrate, options.judge, conversion.labels, conversion.preprocessing)


def _comparison_images(options: ConvertOptions, photos: GatePhotos | None, preprocessing: Preprocessing) -> Pixels:
    """The images that the graph is compared on. An even selection of them becomes the bundle's probe."""
    if photos:
        return photos.judged
    if options.photos:
        return samples.load_photos(options.photos, preprocessing)
    return samples.generate(preprocessing.height, preprocessing.width)


def architecture(trained: Trained, network: ServedNetwork, size: int) -> Architecture:
    """The manifest's row for a network whose input has `size` pixels a side.

    Raises ExportError where the network cannot take that size.
    """
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


def _with_gates(architecture: Architecture, model: bytes) -> Architecture:
    gates = inner_tensors.gates(model, [block.name for block in architecture.se_blocks])
    blocks = zip(architecture.se_blocks, gates, strict=True)
    return dataclasses.replace(
        architecture, se_blocks=tuple(dataclasses.replace(block, gate=gate) for block, gate in blocks)
    )


def _multiply_adds(trained: Trained, network: ServedNetwork, size: int) -> int:
    try:
        return complexity.multiply_adds(network.network, size, size)
    except RuntimeError as error:  # torch raises it for shapes that do not match
        raise ExportError(
            f"A {trained.design.name} cannot take {size}x{size} pixels: give the size of its training with --size."
        ) from error


def _prepare(path: Path, options: ConvertOptions, url: str | None) -> _Conversion:
    trained = understand(path, options.read_options)
    transform = options.transform(trained.transform)
    served = ServedNetwork(trained.network(), transform.mean, transform.std, transform.bgr).eval()
    preprocessing(transform)  # this and the next line raise before the long work begins
    _multiply_adds(trained, served, transform.size)
    return _Conversion(trained, served, transform, *options.label_table(trained), url)


def _prove(
    model: bytes, pixels: Pixels, reference: Probabilities, inputs: Literal["photos", "generated"], progress: Progress
) -> ParityRow:
    answers = reference_runs.onnx_probabilities(model, pixels, progress.advance)
    parity = reference_runs.require_parity(reference, answers)
    return ParityRow(
        file="model.onnx", engine="onnxruntime-cpu", precision="fp32", inputs=inputs, **dataclasses.asdict(parity)
    )


def _graph(file: str, model: bytes, precision: str, opset: int) -> Graph:
    largest = int8.largest_weight(model) if precision == "int8" else None
    return Graph(file, hashlib.sha256(model).hexdigest(), len(model), precision, opset, largest)


def _write(
    conversion: _Conversion,
    model: bytes,
    probe: Probe,
    parity: tuple[ParityRow, ...],
    added: Sequence[AddedPrecision],
    options: ConvertOptions,
    notes: str | None,
) -> Path:
    table, probe_file = labels.to_tsv(conversion.labels), probe.to_bytes()
    source, layout = conversion.trained.source, conversion.trained.format
    graphs = {"model.onnx": (model, "fp32", graph.OPSET)}
    graphs |= {one.file: (one.model, one.precision, one.opset) for one in added if one.model}
    manifest = Manifest(
        schema=SCHEMA,
        name=options.name or conversion.trained.design.name,
        version="",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        architecture=_with_gates(architecture(conversion.trained, conversion.served, conversion.transform.size), model),
        source=Source(source.file, source.sha256, layout, source.taken, conversion.url),
        preprocessing=conversion.preprocessing,
        labels=LabelsRow(conversion.label_set, len(conversion.labels), labels.sha256(table)),
        graphs=tuple(_graph(file, content, precision, opset) for file, (content, precision, opset) in graphs.items()),
        parity=(*parity, *(row for one in added for row in one.rows)),
        probe_sha256=hashlib.sha256(probe_file).hexdigest(),
        tools={tool: version(tool) for tool in ("sesame", "torch", "onnx", "onnxscript", "onnxruntime")},
        head=inner_tensors.head(model),
    )
    text = card(manifest, notes)
    contents = {"labels.tsv": table.encode(), "probe.npz": probe_file, "CARD.md": text.encode()}
    contents |= {file: content for file, (content, _, _) in graphs.items()}
    return draft.publish(options.model_repository, manifest, contents)
