"""Files for NVIDIA's Triton Inference Server beside a bundle's versions: its config.pbtxt and labels.txt.

Triton reads one of each for all versions of a model. They describe the highest version, which is the only one that the
configuration has it load. Sesame does not read them.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from bundle import files, labels
from bundle.atomic import write_atomically
from bundle.errors import BundleError
from bundle.graph import INPUT, OUTPUT
from bundle.labels import Label
from bundle.manifest import Manifest

CONFIG, LABELS = "config.pbtxt", "labels.txt"
MAX_BATCH = 32
"""Images in a batch; the default of the server's setting `max_batch` too."""

OURS = (
    "# Written by `python -m export convert` for the highest version. Remove this line to keep changes of your own.\n"
)


def config(manifest: Manifest) -> str:
    """The text of config.pbtxt: a ModelConfig in protobuf's text format."""
    size = manifest.preprocessing
    return f"""{OURS}name: "{manifest.name}"
backend: "onnxruntime"
default_model_filename: "{_graph(manifest)}"
max_batch_size: {MAX_BATCH}
version_policy {{ latest {{ num_versions: 1 }} }}
dynamic_batching {{ }}
input [
  {{ name: "{INPUT}" data_type: TYPE_UINT8 dims: [ {size.height}, {size.width}, 3 ] }}
]
output [
  {{ name: "{OUTPUT}" data_type: TYPE_FP32 dims: [ {manifest.labels.classes} ] label_filename: "{LABELS}" }}
]
"""


def label_lines(table: Sequence[Label]) -> str:
    """The text of labels.txt: a name in each line, in the order of the outputs. Triton splits it at line feeds."""
    return "".join(f"{' '.join(label.name.splitlines())}\n" for label in table)


def write(folder: Path) -> tuple[str, ...]:
    """Write both files for the highest version in the bundle's folder; returns what the user should know.

    A config.pbtxt that the user changed is kept. The bundle is complete without these files: a fault is a warning.
    """
    try:
        manifest, kept = _write(folder)
    except OSError as error:
        return (
            f"{CONFIG} and {LABELS}, which NVIDIA's Triton needs, cannot be written to '{folder}' ({error.strerror}). "
            "The bundle is complete without them.",
        )
    by_hand = (
        f"'{folder / CONFIG}' was changed by hand and is kept: check that it describes version {manifest.version}."
    )
    return (*_unlike(folder, manifest), *([by_hand] if kept else []))


def _write(folder: Path) -> tuple[Manifest, bool]:
    """The manifest of the version that is described now, and whether the user's config.pbtxt was kept.

    Where another process publishes a version meanwhile, it is described by the one that writes last.
    """
    while True:
        newest = files.newest(folder)
        manifest, table = _described(newest)
        kept = (folder / CONFIG).is_file() and not _is_ours(folder / CONFIG)
        write_atomically(folder / LABELS, label_lines(table).encode())
        if not kept:
            write_atomically(folder / CONFIG, config(manifest).encode())
        if files.newest(folder) == newest:
            return manifest, kept


def check_config(folder: Path) -> str:
    """What was found of the configuration beside a version. Raises BundleError where it is not that version's."""
    path = folder.parent / CONFIG
    if path.is_file() and not _is_ours(path):
        return "changed by hand: not compared"
    _require(path, config(_described(folder)[0]))
    return f"describes version {folder.name}"


def check_labels(folder: Path) -> str:
    """As `check_config`, for the labels."""
    table = _described(folder)[1]
    _require(folder.parent / LABELS, label_lines(table))
    return f"{len(table)} lines"


def is_described(folder: Path) -> bool:
    """Whether there are files for Triton that have to describe this version."""
    there = any((folder.parent / name).exists() for name in (CONFIG, LABELS))
    return there and folder.name == str(max(files.versions(folder.parent), default=0))


def _require(path: Path, text: str) -> None:
    try:
        found = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path.name} cannot be read ({error.strerror}): copy or export the bundle again.") from error
    if found != text.encode():
        raise BundleError(f"{path.name} does not describe this version: copy or export the bundle again.")


def _described(version: Path) -> tuple[Manifest, tuple[Label, ...]]:
    """Raises BundleError, OSError."""
    manifest = _manifest(version)
    return manifest, labels.from_tsv((version / "labels.tsv").read_text(encoding="utf-8"))


def _manifest(version: Path) -> Manifest:
    return Manifest.from_json((version / "manifest.json").read_text(encoding="utf-8"))


def _unlike(folder: Path, newest: Manifest) -> Iterator[str]:
    """A sentence for each other version that the configuration does not fit."""
    for number in files.versions(folder):
        try:
            other = _manifest(folder / str(number))
        except (BundleError, OSError, ValueError):  # it is not served by anything
            continue
        if _form(other) != _form(newest):
            yield (
                f"Version {number} of '{newest.name}' has {_form(other)}, "
                f"version {newest.version} has {_form(newest)}. NVIDIA's Triton reads one {CONFIG} for all versions: "
                f"it serves version {newest.version}, and cannot serve version {number} with it. Sesame serves both; "
                "for Triton give one of them another name."
            )


def _form(manifest: Manifest) -> str:
    size = manifest.preprocessing
    return f"{manifest.labels.classes} classes, {size.height}x{size.width} pixels and the graph {_graph(manifest)}"


def _graph(manifest: Manifest) -> str:
    return next(graph.file for graph in manifest.graphs if graph.precision == "fp32")


def _is_ours(path: Path) -> bool:
    return path.read_text(encoding="utf-8", errors="replace").startswith(OURS)
