"""`python -m bench.rtx_builds FOLDER`: each graph of a folder through the project's own builder, in TensorRT for RTX.

Only the binding of a thread to its GPU is left out. `bench.rtx` runs it, where `import tensorrt` is that one.
"""

import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import tensorrt as trt

from export.errors import ExportError
from export.progress import Progress
from export.tensorrt import build
from export.tensorrt.build import Builder
from plans.sidecar import Target
from plans.store import Store

BATCHES = (1,)
_WORKSPACE_BYTES = 4 << 30


class NoDevice:
    """In the place of a GPU."""

    def __init__(self, index: int) -> None:
        pass

    def set_current(self) -> None:
        pass


def builder(folder: Path, batches: tuple[int, ...] = BATCHES, workspace_bytes: int = _WORKSPACE_BYTES) -> Builder:
    """One for plans that no GPU here will run, with its timings in that folder."""
    vars(build)["Device"] = NoDevice
    target = Target(trt.__version__, "none", "8.9", 1, "13.0", "linux")
    return Builder(batches, workspace_bytes, 0, target, Store(folder))


def row(graph: Path, folder: Path) -> dict[str, Any]:
    """What became of a graph, and why."""
    why, began_s = "", time.monotonic()
    try:
        builder(folder).build(graph.read_bytes(), Progress())
    except ExportError as error:
        why = str(error)
    seconds = round(time.monotonic() - began_s, 1)
    parsed = "does not take the graph" not in why
    return {"graph": graph.stem, "parsed": parsed, "built": not why, "why": why, "seconds": seconds}


if __name__ == "__main__":
    logging.getLogger("tensorrt").propagate = False  # hundreds of warnings; what is refused is in the rows
    logging.getLogger("tensorrt").addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory(prefix="sesame-rtx-") as timings:
        for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
            print(json.dumps(row(path, Path(timings))), flush=True)
