"""The files of a bundle: `<root>/<name>/<version>/`. A version never changes once it is published."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bundle import labels
from bundle.errors import BundleError
from bundle.labels import Label
from bundle.manifest import Graph, Manifest
from bundle.names import is_name
from bundle.probe import Probe


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: all hashes are verified, and all but the graphs is in memory."""

    path: Path
    manifest: Manifest
    labels: tuple[Label, ...]
    probe: Probe

    @cached_property
    def has_groups(self) -> bool:
        """Whether its labels have groups, for which the best classes of a photo vote."""
        return any(label.group is not None for label in self.labels)

    def graph(self, precision: str) -> tuple[Graph, Path]:
        """The graph of that precision and its file. Raises BundleError where the bundle has none."""
        for graph in self.manifest.graphs:
            if graph.precision == precision:
                return graph, self.path / graph.file
        raise BundleError(
            f"The bundle '{self.manifest.name}' has no {precision} graph: export it again with that precision."
        )


def find(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Name, version and folder of each bundle under the root, sorted. Drafts and other files are left out."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and is_name(path.name)):
        for version in versions(folder):
            yield folder.name, str(version), folder / str(version)


def newest(path: Path) -> Path:
    """The folder of a bundle's highest version, or `path` itself where it is a version.

    Raises BundleError where there is no bundle.
    """
    if (path / "manifest.json").is_file():
        return path
    found = versions(path) if path.is_dir() else []
    if not found:
        raise BundleError(
            f"'{path}' holds no bundle: give a folder as model_repository/<name> or model_repository/<name>/<version>."
        )
    return path / str(found[-1])


def versions(folder: Path) -> list[int]:
    """The version numbers in a bundle's folder, ascending."""
    return sorted(
        int(path.name) for path in folder.iterdir() if path.is_dir() and re.fullmatch(r"[1-9][0-9]*", path.name)
    )


def read(path: Path) -> Bundle:
    """Open a bundle and verify every hash in its manifest.

    Raises BundleError naming the file that is missing, damaged or inconsistent with the others.
    """
    try:
        return _read(path)
    except (ValueError, TypeError, IndexError, OverflowError, RecursionError) as error:  # a file made to cause errors
        raise BundleError(
            f"The files of the bundle '{path.parent.name}/{path.name}' contradict each other "
            f"({type(error).__name__}): export the bundle again."
        ) from error


def _read(path: Path) -> Bundle:
    manifest = Manifest.from_json(_content(path, "manifest.json").decode("utf-8", "replace"))
    for graph in manifest.graphs:
        _verified(path, graph.file, graph.sha256)
    table = labels.from_tsv(_verified(path, "labels.tsv", manifest.labels.sha256).decode())
    probe = Probe.from_bytes(_verified(path, "probe.npz", manifest.probe_sha256))
    if len(table) != manifest.labels.classes:
        raise BundleError(
            f"The manifest states {manifest.labels.classes} classes and labels.tsv has {len(table)}: "
            "export the bundle again."
        )
    probe.check_shapes(manifest.preprocessing.height, manifest.preprocessing.width, manifest.labels.classes)
    return Bundle(path, manifest, table, probe)


def _content(path: Path, name: str) -> bytes:
    if Path(name).name != name:
        raise BundleError(f"The manifest names the file '{name}', which is not beside it: export the bundle again.")
    try:
        return (path / name).read_bytes()
    except OSError as error:
        raise BundleError(
            f"{name} of the bundle '{path.parent.name}/{path.name}' cannot be read ({error.strerror}): "
            "copy or export the bundle again, or let the user read it."
        ) from error


def _verified(path: Path, name: str, sha256: str) -> bytes:
    content = _content(path, name)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BundleError(
            f"{name} of the bundle '{path.parent.name}/{path.name}' is not the file its manifest names "
            "(sha256 differs): copy or export the bundle again."
        )
    return content
