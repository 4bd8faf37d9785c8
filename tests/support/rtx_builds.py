"""`python -m tests.support.rtx_builds FOLDER`: builds each graph of a folder by the project's own builder.

`rtx_matrix` runs it in an environment in which `import tensorrt` is TensorRT for RTX. All of the builder runs, except
that no thread is bound to a GPU.
"""

import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import tensorrt

from export.errors import ExportError
from export.progress import Progress
from export.tensorrt import build
from export.tensorrt.build import Builder
from trt.sidecar import Target
from trt.store import Store

BATCHES = (1,)
_WORKSPACE_BYTES = 4 << 30


class NoDevice:
    """Stands in for a GPU."""

    def __init__(self, index: int) -> None:
        pass

    def set_current(self) -> None:
        pass


def builder(folder: Path, batches: tuple[int, ...] = BATCHES, workspace_bytes: int = _WORKSPACE_BYTES) -> Builder:
    """A builder of plans that no GPU here will run; its timing cache lies in that folder."""
    vars(build)["Device"] = NoDevice
    target = Target(tensorrt.__version__, "none", "8.9", 1, "13.0", "linux")
    return Builder(batches, workspace_bytes, 0, target, Store(folder))


def row(graph: Path, folder: Path) -> dict[str, Any]:
    """The result for one graph."""
    why, began_s = "", time.monotonic()
    try:
        builder(folder).build(graph.read_bytes(), Progress())
    except ExportError as error:
        why = str(error)
    seconds = round(time.monotonic() - began_s, 1)
    parsed = "does not accept the graph" not in why
    return {"graph": graph.stem, "parsed": parsed, "built": not why, "why": why, "seconds": seconds}


if __name__ == "__main__":
    logging.getLogger("tensorrt").propagate = False  # hides hundreds of warnings; errors are in the rows
    logging.getLogger("tensorrt").addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory(prefix="sesame-rtx-") as timings:
        for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
            print(json.dumps(row(path, Path(timings))), flush=True)
