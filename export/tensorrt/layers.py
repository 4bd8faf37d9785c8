"""Layers: what TensorRT made of a graph, as its inspector tells."""

import json
import logging
from collections.abc import Sequence

import tensorrt as trt

from plans.sidecar import Layers

log = logging.getLogger(__name__)


def inspected(engine: "trt.ICudaEngine", blocks: Sequence[str]) -> Layers | None:
    """The layers of one batch size, where they are told; `blocks` are the names of the SE blocks."""
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        rows = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        log.warning("TensorRT's inspector does not tell the engine's layers: %r", error)
        return None
    told = [_told(row) for row in rows]
    first = [(name, kind) for name, kind in told if "[profile " not in name]  # the others say which they belong to
    reformats = sum("reformat" in f"{name} {kind}".lower() for name, kind in first)
    return Layers(len(first), reformats, tuple(name for name, _ in first if _of_se(name, blocks)))


def _told(row: object) -> tuple[str, str]:
    """Name and kind; an engine that was built without details tells names alone."""
    return (str(row.get("Name", "")), str(row.get("LayerType", ""))) if isinstance(row, dict) else (str(row), "")


def _of_se(name: str, blocks: Sequence[str]) -> bool:
    """Layers carry the names of the nodes they were made of, `PWN(PWN(layer1.0/se/Sigmoid, …), …)`."""
    return any(f"{block}/se/" in name for block in blocks)
