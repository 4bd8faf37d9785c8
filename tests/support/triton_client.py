"""NVIDIA's Python client of Triton, in a process of its own: protobuf allows one definition of a message in a process.

`run(script, *arguments)` gives what the script prints. The package is looked for in folders beside the environment
whose name has `triton` in it; without one, tests are skipped.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(script: str, *arguments: str) -> str:
    """What `script` writes to standard output where `import tritonclient` is NVIDIA's package."""
    environment = {**os.environ, "PYTHONPATH": str(_folder())}
    # Its modules are generated for an older protobuf than the one installed here, and that warns
    command = [sys.executable, "-W", "ignore", "-c", script, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _folder() -> Path:
    for pattern in ("", "lib/python*/site-packages/"):
        for found in sorted(Path(sys.prefix).glob(f"*triton*/{pattern}tritonclient/grpc/service_pb2.py")):
            return found.parents[2]
    pytest.skip(f"no folder {sys.prefix}/.triton* holds the package tritonclient")
