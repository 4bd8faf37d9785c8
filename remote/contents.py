"""Contents: the files that a manifest names, and how large each may be. A manifest from elsewhere is not trusted."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from bundle.manifest import Manifest
from bundle.names import is_name
from remote.errors import RemoteError

MANIFEST, CARD = "manifest.json", "CARD.md"
MOST_MANIFEST_BYTES = 4 << 20
MOST_CARD_BYTES = 1 << 20
_MOST_LABELS_BYTES = 16 << 20
_MOST_GRAPH_BYTES = 1 << 31  # protobuf has no larger message
_MOST_PROBE_BYTES = 1 << 29
_MOST_PROBE_IMAGES = 256
_MOST_GRAPHS = 32

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class NamedFile:
    """A file of a bundle, as its manifest names it. `bytes`: its size, where the manifest states it."""

    name: str
    sha256: str
    most_bytes: int
    bytes: int | None = None

    def is_whole(self, path: Path) -> bool:
        """Whether the file there is the one that the manifest names. Reads all of it; raises OSError."""
        if not path.is_file() or (self.bytes is not None and path.stat().st_size != self.bytes):
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256


def read_manifest(text: bytes) -> Manifest:
    """Raises BundleError."""
    return Manifest.from_json(text.decode("utf-8", "replace"))


def named_files(manifest: Manifest) -> tuple[NamedFile, ...]:
    """The files besides the manifest, which have a hash in it. CARD.md has none.

    Raises RemoteError for names that are not beside the manifest, and for sizes that no bundle has.
    """
    if not is_name(manifest.name) or not _VERSION.fullmatch(manifest.version):
        raise RemoteError(
            f"The manifest names itself {manifest.name[:80]!r}, version {manifest.version[:20]!r}, which no bundle "
            "has: export it again."
        )
    size, classes = manifest.preprocessing, manifest.labels.classes
    probe_bytes = _MOST_PROBE_IMAGES * (size.height * size.width * 3 + 4 * classes) + 65536
    files = (
        *(NamedFile(graph.file, graph.sha256, graph.bytes, graph.bytes) for graph in manifest.graphs),
        NamedFile("labels.tsv", manifest.labels.sha256, _MOST_LABELS_BYTES),
        NamedFile("probe.npz", manifest.probe_sha256, min(probe_bytes, _MOST_PROBE_BYTES)),
    )
    for file in files:
        _check(file)
    names = [file.name.lower() for file in files] + [MANIFEST, CARD.lower()]
    if len(set(names)) < len(names) or len(manifest.graphs) > _MOST_GRAPHS:
        raise RemoteError("The manifest names a file twice, or too many graphs: export the bundle again.")
    return files


def is_whole(folder: Path) -> bool:
    """Whether a version's folder holds every file of its manifest, as it is named there."""
    try:
        files = named_files(read_manifest((folder / MANIFEST).read_bytes()))
        return all(file.is_whole(folder / file.name) for file in files)
    except (OSError, ValueError, RemoteError):
        return False


def _check(file: NamedFile) -> None:
    if not _FILE.fullmatch(file.name):
        raise RemoteError(
            f"The manifest names the file {file.name[:80]!r}, which is not beside it: it is refused. Export the "
            "bundle again."
        )
    if not _SHA256.fullmatch(file.sha256):
        raise RemoteError(f"The manifest has no SHA-256 for {file.name}: export the bundle again.")
    if file.bytes is not None and not 0 < file.bytes <= _MOST_GRAPH_BYTES:
        raise RemoteError(
            f"The manifest gives {file.name} {file.bytes} bytes, and a graph has at most {_MOST_GRAPH_BYTES}: "
            "export the bundle again."
        )
