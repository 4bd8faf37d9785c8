"""The bundle on disk: `<root>/<name>/<version>/`, written at once or not at all, and never changed after."""

import dataclasses
import errno
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bundle import labels
from bundle.errors import BundleError
from bundle.labels import Label
from bundle.manifest import Graph, Manifest
from bundle.probe import Probe

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: every hash verified, everything small read."""

    path: Path
    manifest: Manifest
    labels: tuple[Label, ...]
    probe: Probe

    @cached_property
    def grouped(self) -> bool:
        """Whether its labels have groups, on which the best classes of a photo vote."""
        return any(label.group is not None for label in self.labels)

    def graph(self, precision: str) -> tuple[Graph, Path]:
        """The graph of that precision and where it lies. Raises BundleError where the bundle has none."""
        for graph in self.manifest.graphs:
            if graph.precision == precision:
                return graph, self.path / graph.file
        raise BundleError(f"The bundle '{self.manifest.name}' has no {precision} graph.")


def find(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Name, version and folder of each bundle under the root, sorted; drafts and files of other programs left out."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and NAME.fullmatch(path.name)):
        for version in versions(folder):
            yield folder.name, str(version), folder / str(version)


def newest(path: Path) -> Path:
    """The folder of a bundle's highest version; of one version, that folder itself. BundleError where there is none."""
    if (path / "manifest.json").is_file():
        return path
    found = versions(path) if path.is_dir() else []
    if not found:
        raise BundleError(f"'{path}' holds no bundle: give a folder as bundles/<name> or bundles/<name>/<version>.")
    return path / str(found[-1])


def versions(folder: Path) -> list[int]:
    """The version numbers in a bundle's folder, ascending."""
    return sorted(
        int(path.name) for path in folder.iterdir() if path.is_dir() and re.fullmatch(r"[1-9][0-9]*", path.name)
    )


def read(path: Path) -> Bundle:
    """Open a bundle and verify every hash in its manifest.

    Raises BundleError naming the file that is missing, damaged or does not fit.
    """
    try:
        return _read(path)
    except (ValueError, TypeError, IndexError, OverflowError, RecursionError) as error:  # files made to confuse
        raise BundleError(
            f"The files of the bundle '{path.parent.name}/{path.name}' do not hold together ({type(error).__name__}): "
            "export the bundle again."
        ) from error


def _read(path: Path) -> Bundle:
    manifest = Manifest.from_json(_content(path, "manifest.json").decode("utf-8", "replace"))
    for graph in manifest.graphs:
        _verified(path, graph.file, graph.sha256)
    table = labels.from_tsv(_verified(path, "labels.tsv", manifest.labels.sha256).decode())
    probe = Probe.from_bytes(_verified(path, "probe.npz", manifest.probe_sha256))
    if len(table) != manifest.labels.classes:
        raise BundleError(
            f"The manifest names {manifest.labels.classes} classes, labels.tsv {len(table)}: export the bundle again."
        )
    probe.demand_fit(manifest.preprocessing.height, manifest.preprocessing.width, manifest.labels.classes)
    return Bundle(path, manifest, table, probe)


def demand_name(name: str) -> None:
    """Raises BundleError where a bundle cannot have that name."""
    if not NAME.fullmatch(name):
        raise BundleError(f"'{name}' cannot name a bundle: use up to 64 letters, digits, dots, dashes and underscores.")


def demand_writable(root: Path, name: str | None) -> None:
    """Raises BundleError where no bundle can be written under the root, or not by that name: before long work."""
    if name is not None:
        demand_name(name)
    there = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise BundleError(f"No bundle can be written under '{root}': choose another folder with --bundles.")


def write(root: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Path:
    """Write a bundle under the next free version of its name and return its folder.

    The manifest's version is set here. An interruption leaves nothing behind; of two writers at once the later one
    takes the next number.
    """
    demand_name(manifest.name)
    folder = root / manifest.name
    draft = folder / f".tmp-{uuid.uuid4().hex}"
    try:
        draft.mkdir(parents=True)
        for name, content in files.items():
            (draft / name).write_bytes(content)
        return _publish(draft, folder, manifest)
    except OSError as error:
        raise BundleError(
            f"The bundle cannot be written to '{folder}' ({error.strerror}): choose another folder, or make room."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _publish(draft: Path, folder: Path, manifest: Manifest) -> Path:
    while True:
        version = str(max(versions(folder), default=0) + 1)
        text = dataclasses.replace(manifest, version=version).to_json()
        (draft / "manifest.json").write_text(text, encoding="utf-8", newline="\n")
        try:
            return draft.rename(folder / version)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not (folder / version).is_dir():
                raise


def _content(path: Path, name: str) -> bytes:
    if Path(name).name != name:
        raise BundleError(f"The manifest names the file '{name}', which is not beside it.")
    try:
        return (path / name).read_bytes()
    except OSError as error:
        raise BundleError(f"{name} of the bundle '{path.parent.name}/{path.name}' cannot be read.") from error


def _verified(path: Path, name: str, sha256: str) -> bytes:
    content = _content(path, name)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BundleError(
            f"{name} of the bundle '{path.parent.name}/{path.name}' is not the file its manifest names "
            "(sha256 differs): copy or export the bundle again."
        )
    return content
