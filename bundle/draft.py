"""Draft: a bundle that is being written. One rename publishes it as the next version of its name."""

import dataclasses
import errno
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from bundle.errors import BundleError
from bundle.files import versions
from bundle.manifest import Manifest
from bundle.names import check_name


def check_writable(root: Path, name: str | None) -> None:
    """Raises BundleError where no bundle of that name can be written under the root. To be called before long work."""
    if name is not None:
        check_name(name)
    existing = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise BundleError(f"No bundle can be written under '{root}': choose another folder with --model-repository.")


def publish(root: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Path:
    """Write a bundle under the next free version of its name, and return its folder.

    The version in the manifest is set here. If it is interrupted, nothing is left behind. If two processes publish at
    the same time, the later one gets the next number. Raises BundleError where the bundle cannot be written.
    """
    check_name(manifest.name)
    folder = root / manifest.name
    draft = folder / f".tmp-{uuid.uuid4().hex}"
    try:
        draft.mkdir(parents=True)
        for name, content in files.items():
            (draft / name).write_bytes(content)
        return _rename(draft, folder, manifest)
    except OSError as error:
        raise BundleError(
            f"The bundle cannot be written to '{folder}' ({error.strerror}): choose another folder, or make room."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _rename(draft: Path, folder: Path, manifest: Manifest) -> Path:
    """Retries with the next number where another process has taken this one in the meantime."""
    while True:
        version = str(max(versions(folder), default=0) + 1)
        text = dataclasses.replace(manifest, version=version).to_json()
        (draft / "manifest.json").write_text(text, encoding="utf-8", newline="\n")
        try:
            return draft.rename(folder / version)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not (folder / version).is_dir():
                raise
