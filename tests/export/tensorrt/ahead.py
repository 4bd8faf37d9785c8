"""For scripts of `rtx.run`, where `tensorrt` is TensorRT for RTX: graphs of the demo, and builds without a GPU."""

import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorrt

from bundle import files
from export.errors import ExportError
from export.graphs import se_functions
from export.tensorrt.build import Builder
from export.tensorrt.network import parse
from export.tensorrt.pooled import use_average_pools
from export.tensorrt.ways import POOLED_ABOVE
from tests.support import rtx_builds
from trt.messages import messages

PRECISIONS = ("fp32", "fp16", "bf16", "int8-trt", "fp8")
blocks = [row.name for row in files.read(Path("model_repository/demo/1")).manifest.architecture.se_blocks]


class RecordedProgress:
    """A Progress that keeps what it is told, and does something then."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.told: list[tuple[int, int]] = []
        self._then = then

    def advance(self, done: int, total: int) -> None:
        self.told.append((done, total))
        self._then()


def graph(precision: str) -> bytes:
    """The demo's in that precision."""
    return Path(sys.argv[1], f"{precision}.onnx").read_bytes()


def in_ways(model: bytes) -> dict[str, bytes]:
    """As each way of building has it."""
    outlined = se_functions.outline(model, blocks, pooled_above=POOLED_ABOVE)
    return {"native": model, "pooled": use_average_pools(model, blocks)[0], "outlined": outlined.model}


def network(model: bytes) -> Any:
    return parse(tensorrt.Builder(messages()), model, messages())


def why_not(work: Callable[[], object]) -> str:
    """What it is refused with."""
    try:
        work()
    except ExportError as error:
        return str(error)
    return ""


def builder(batches: tuple[int, ...] = (1, 2, 4), capability: str = "SM89", workspace_bytes: int = 4 << 30) -> Builder:
    """The project's own, for that compute capability; timings are not kept."""

    class Ahead(Builder):
        def _config(self, *told: Any) -> Any:
            config = super()._config(*told)
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(tensorrt.ComputeCapability, capability), 0)
            return config

    made = rtx_builds.builder(Path("/nonexistent"), batches, workspace_bytes)
    return Ahead(made.batches, made.workspace_bytes, made.gpu, made.target, NoStore())  # type: ignore[arg-type]


class NoStore:
    def timings(self, target: object) -> bytes:
        return b""

    def put_timings(self, target: object, data: bytes) -> None:
        pass


def rows(model: bytes, batches: tuple[int, ...]) -> list[dict[str, str]]:
    """What the inspector would tell of a plan's layers: the builder says the same in its most verbose messages."""
    log, heard = logging.getLogger("tensorrt"), Heard()
    log.addHandler(heard)
    log.setLevel(logging.DEBUG)
    builder(batches).build(model, RecordedProgress())  # type: ignore[arg-type]
    log.removeHandler(heard)
    log.setLevel(logging.NOTSET)
    (text,) = [message for message in heard.messages if message.startswith("Layers:")]
    return [_row(line) for line in text.splitlines() if line.startswith("Name: ")]


def _row(line: str) -> dict[str, str]:
    """As the inspector's JSON has it: its name, kind and metadata, and all else that might tell of a batch size."""
    name, _, rest = line.removeprefix("Name: ").partition(", LayerType: ")
    metadata = re.search(r"Metadata: (.*)$", rest)
    told = {"Name": name, "LayerType": rest.partition(",")[0], "Metadata": metadata[1] if metadata else ""}
    return told | {"Inputs": rest}


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


logging.getLogger("tensorrt").propagate = False
logging.getLogger("tensorrt").addHandler(logging.NullHandler())
