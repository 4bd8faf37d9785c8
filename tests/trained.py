"""Trained weights of the shared data, which are not on every machine."""

from pathlib import Path

import pytest


def weights(shared: Path, name: str) -> Path:
    path = shared / "weights" / name
    if not path.exists():
        pytest.skip(f"{name} is not in the shared data")
    return path
