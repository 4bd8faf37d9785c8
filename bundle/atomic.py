"""Atomic writing: a file that readers see whole, old or new, and never in part."""

import uuid
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write a draft beside the file, then rename it. Missing folders are created.

    The draft's name begins with `.tmp-` and is unique, so writers in other threads, processes and containers do not
    disturb each other: the last one to rename wins. Raises OSError, and then leaves the old file and no draft.
    """
    draft = path.with_name(f".tmp-{path.name}-{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
