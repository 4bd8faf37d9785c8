"""Trained weights in the shared data, which not every machine has."""

from pathlib import Path

import pytest


def weights(shared: Path, name: str) -> Path:
    """The file of that name. Skips the test where it is not there."""
    path = shared / "weights" / name
    if not path.exists():
        pytest.skip(f"{name} is not in the shared data")
    return path
