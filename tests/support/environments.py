"""Environments: the Python clients of other projects, run by the Python of an environment of their own.

They want another protobuf than Sesame, and protobuf allows one definition of a message in a process. `make setup` makes
the environments "client" (NVIDIA's client of Triton) and "helm" (Helm's library, Kubernetes' schemas), `make
setup-kserve` the environment "kserve" (KServe's client), `make setup-ray` the environment "ray" (Ray Serve, with Sesame
for its replicas).
"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / ".venv-field"

_MADE_BY = {"client": "make setup", "helm": "make setup", "kserve": "make setup-kserve", "ray": "make setup-ray"}
_LIMIT_S = 300


def python(environment: str) -> Path:
    """Its interpreter. Skips the test where there is none."""
    found = FOLDER / environment / "bin" / "python"
    if not found.exists():
        pytest.skip(f"needs {FOLDER.name}/{environment}: {_MADE_BY[environment]}")
    return found


def run(environment: str, *arguments: str, stdin: str = "") -> str:
    """What a Python program writes to standard output. Fails the test if the program failed."""
    command = [str(python(environment)), "-W", "ignore", *arguments]  # generated for an older protobuf: that warns
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=variables,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
