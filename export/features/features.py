"""Features: writes the backbone of a checkpoint as ONNX, or raises an error that says why it cannot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bundle.atomic import write_atomically
from export.errors import ExportError
from export.features import map_parity, maps_graph
from export.features.backbone import Backbone
from export.features.map_parity import Maps
from export.features.sheet import MapRow, Sheet
from export.options import ConvertOptions
from export.progress import Progress
from models.trained import understand

STEPS = 5


@dataclass(frozen=True)
class Features:
    """The written file, what a detector has to know of it, and its largest error beside torch (see map_parity)."""

    path: Path
    sheet: Sheet
    max_error: float


def write_features(
    path: Path, options: ConvertOptions, stages: Sequence[int] | None, to: Path | None, progress: Progress
) -> Features:
    """Write the maps of some stages (all from the second on) of the checkpoint's network.

    Without `to` the file is `NETWORK.features.onnx` in the current folder. An older file of that name is replaced.
    Raises CheckpointError or ExportError with the cure; nothing is written then.
    """
    progress.step(f"reading {path.name}")
    trained = understand(path, options.read_options)
    name, transform = trained.design.name, options.transform(trained.transform)
    to = Path(f"{name}.features.onnx") if to is None else to
    if to.is_dir():
        raise ExportError(f"'{to}' is a folder: give the name of a file, e.g. -o {to / name}.onnx.")
    backbone = Backbone(trained.network(), name, stages, transform.bgr).eval()
    progress.step("running the torch network on images of three sizes")
    images = list(map_parity.comparison_images(transform))
    reference = map_parity.torch_maps(backbone, name, images)
    progress.step(f"exporting {', '.join(backbone.outputs)} of {name} ({trained.format} names)")
    sheet = Sheet(name, trained.source.sha256, transform.mean, transform.std, _rows(backbone, reference))
    model = maps_graph.to_onnx(backbone, name, sheet.metadata())
    progress.step("comparing the exported graph with the torch network")
    error = map_parity.require_parity(
        backbone.outputs, reference, map_parity.onnx_maps(model, backbone.outputs, images)
    )
    progress.step(f"writing {to}")
    _write(to, model)
    return Features(to, sheet, error)


def _rows(backbone: Backbone, reference: list[Maps]) -> tuple[MapRow, ...]:
    """Strides are measured at the first size, which every usual stride divides."""
    height = map_parity.SIZES[0][1]
    maps = zip(backbone.outputs, reference[0], strict=True)
    return tuple(MapRow(output, one.shape[1], round(height / one.shape[2])) for output, one in maps)


def _write(to: Path, model: bytes) -> None:
    try:
        write_atomically(to, model)
    except OSError as error:
        raise ExportError(f"'{to}' cannot be written ({error}): give another file with -o.") from error
