"""TensorRT for RTX: NVIDIA's own parser and builder, which need no GPU. `rtx.run` runs a script over them.

Its wheels lie beside the environment, `make setup` puts them there; without them tests are skipped.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.support import rtx_matrix

_BEGIN = "import json\nfrom tests.export.tensorrt.ahead import *\n"


def demand() -> None:
    """Skips the test where the wheels are not there."""
    if not (rtx_matrix.WHEELS / "tensorrt_rtx_libs").is_dir():
        pytest.skip("needs TensorRT for RTX beside the environment: make setup")


def run(script: str, graphs: Path) -> Any:
    """What a script printed last, as JSON. It runs in a process of its own, after the names of `ahead`.

    `graphs`: a folder with the demo's, by precision.
    """
    with tempfile.TemporaryDirectory(prefix="sesame-rtx-") as site:
        environment = rtx_matrix.environment(Path(site))
        command = [sys.executable, "-c", _BEGIN + script, str(graphs)]
        ended = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1])
