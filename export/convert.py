"""Convert: a checkpoint becomes a bundle, or one sentence says why not."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

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
from export import graph, proof, samples
from export.card import card
from export.graph import ServedNetwork
from export.progress import Progress
from export.wishes import Wishes
from models import checkpoint, complexity, formats, loading
from models.errors import CheckpointError
from models.formats.format import Format
from models.seresnet import SEResNet, SEResNetSpec, se_blocks

STEPS = 6


@dataclass(frozen=True)
class _Trained:
    """A checkpoint understood: where it came from, what network it makes, and what goes in and comes out."""

    source: Source
    layout: Format
    spec: SEResNetSpec
    network: SEResNet
    preprocessing: Preprocessing
    labels: Sequence[Label]


def convert(path: Path, wishes: Wishes, progress: Progress) -> Path:
    """Write a bundle for the checkpoint and return its folder.

    Raises CheckpointError, BundleError or ExportError, each a sentence with its cure; then nothing was written.
    """
    notes = wishes.card_notes()
    if wishes.name is not None:
        files.demand_name(wishes.name)
    progress.step(f"reading {path.name}")
    trained = _understood(path, wishes)
    fit = trained.preprocessing
    served = ServedNetwork(trained.network, fit.mean, fit.std).eval()
    progress.step("preparing images to compare on")
    pixels = samples.photos(wishes.photos, fit) if wishes.photos else samples.generated(fit.height, fit.width)
    progress.step(f"exporting {trained.spec.name} from {trained.source.taken} ({trained.layout.name} names)")
    model = graph.to_onnx(served, fit.height, fit.width)
    progress.step(f"running the torch network on {len(pixels)} images")
    reference = proof.torch_probabilities(served, pixels, progress.advance)
    progress.step("comparing the graph with it")
    parity = _proven(model, pixels, reference, "photos" if wishes.photos else "generated", progress)
    progress.step(f"writing the bundle: max |Δp| {parity.max_dp:.1e}, max |Δ log p| {parity.max_dlogp:.1e}")
    probe = Probe(pixels[: samples.PROBE_IMAGES], reference[: samples.PROBE_IMAGES])
    return _written(trained, model, probe, parity, wishes, notes)


def _understood(path: Path, wishes: Wishes) -> _Trained:
    opened = checkpoint.read(path, wishes.weights)
    layout = formats.named(wishes.format) if wishes.format is not None else formats.detect(opened.tensors)
    tensors = layout.canonical(opened.tensors)
    spec = loading.read_spec(tensors, wishes.stem)
    if wishes.arch is not None and wishes.arch != spec.name:
        raise CheckpointError(
            f"The tensors make a {spec.name}, not a {wishes.arch}: drop --arch, or give the right file."
        )
    return _Trained(
        source=Source(opened.file, opened.sha256, layout.name, opened.taken),
        layout=layout,
        spec=spec,
        network=loading.load(tensors, spec),
        preprocessing=wishes.preprocessing(layout),
        labels=wishes.label_table(spec.classes),
    )


def _proven(
    model: bytes, pixels: Pixels, reference: Probabilities, inputs: Literal["photos", "generated"], to: Progress
) -> ParityRow:
    parity = proof.demand_parity(reference, proof.onnx_probabilities(model, pixels, to.advance))
    return ParityRow(
        file="model.onnx", engine="onnxruntime-cpu", precision="fp32", inputs=inputs, **dataclasses.asdict(parity)
    )


def _written(
    trained: _Trained, model: bytes, probe: Probe, parity: ParityRow, wishes: Wishes, notes: str | None
) -> Path:
    table, probe_file = labels.to_tsv(trained.labels), probe.to_bytes()
    manifest = Manifest(
        schema=SCHEMA,
        name=wishes.name or trained.spec.name,
        version="",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        architecture=_architecture(trained),
        source=trained.source,
        preprocessing=trained.preprocessing,
        labels=LabelsRow(wishes.label_set, len(trained.labels), labels.sha256(table)),
        graphs=(Graph("model.onnx", hashlib.sha256(model).hexdigest(), len(model), "fp32", graph.OPSET),),
        parity=(parity,),
        probe_sha256=hashlib.sha256(probe_file).hexdigest(),
        tools={tool: version(tool) for tool in ("sesame", "torch", "onnx", "onnxscript", "onnxruntime")},
    )
    text = card(manifest, notes)
    contents = {"model.onnx": model, "labels.tsv": table.encode(), "probe.npz": probe_file, "CARD.md": text.encode()}
    return files.write(wishes.bundles, manifest, contents)


def _architecture(trained: _Trained) -> Architecture:
    network, fit = trained.network, trained.preprocessing
    return Architecture(
        name=trained.spec.name,
        variant=trained.layout.variant,
        stem=trained.spec.stem,
        parameters=complexity.parameters(network),
        macs=complexity.multiply_adds(network, fit.height, fit.width),
        se_blocks=tuple(
            SEBlockRow(name.rpartition(".")[0], block.channels, block.squeezed) for name, block in se_blocks(network)
        ),
    )
