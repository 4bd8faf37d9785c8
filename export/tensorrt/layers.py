"""Layers: what TensorRT made of a graph, as its inspector tells."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tensorrt as trt

from plans.sidecar import Layers

log = logging.getLogger(__name__)

_NODE = re.compile(r"\[ONNX Layer: ([^]|]+?)(?: \|[^]]*)?\]")
"""In a layer's metadata: a node that the layer computes, and the functions that the node was inlined from."""
_PROFILE = re.compile(r"\[profile (\d+)\]")
_REGION = re.compile(r"_(myl\d+)_\d+$")
"""Ends the names of layers that one compilation made, which is of one profile. Names of generated kernels tell the
profile by this alone: `__myl_MulAddRelu_myl2_16`."""
_COPIES = re.compile(r"reformat|^__myl_(Tran|Move)+_", re.IGNORECASE)
_NO_LAYERS = ("signal", "wait")
"""Kinds of rows by which streams wait for each other."""


@dataclass(frozen=True)
class _Layer:
    """A row of the inspector. `profile` is None where the row does not tell; `nodes` are those that it computes."""

    name: str
    kind: str
    region: str
    profile: int | None
    nodes: tuple[str, ...]

    def of_se(self, blocks: Sequence[str]) -> bool:
        """Names of layers may be those of nodes, `PWN(PWN(layer1.0/se/Sigmoid, …), …)`."""
        return any(f"{block}/se/" in text for block in blocks for text in (self.name, *self.nodes))

    def __str__(self) -> str:
        return f"{self.name}: {' + '.join(self.nodes)}" if self.nodes else self.name


def inspected(engine: "trt.ICudaEngine", blocks: Sequence[str]) -> Layers | None:
    """The layers of the first batch size, where they are told; `blocks` are the names of the SE blocks."""
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        rows = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        log.warning("TensorRT's inspector does not tell the engine's layers: %r", error)
        return None
    layers = _first_profile([_layer(row) for row in rows])
    reformats = sum(bool(_COPIES.search(f"{layer.name} {layer.kind}")) for layer in layers)
    return Layers(len(layers), reformats, tuple(str(layer) for layer in layers if layer.of_se(blocks)))


def _first_profile(layers: Sequence[_Layer]) -> list[_Layer]:
    """Those of profile 0, which is told by no row: by none of a layer, and by none of its region."""
    regions = {layer.region: layer.profile for layer in layers if layer.region and layer.profile}
    return [
        layer
        for layer in layers
        if not (layer.profile or regions.get(layer.region)) and layer.kind.lower() not in _NO_LAYERS
    ]


def _layer(row: object) -> _Layer:
    """An engine that was built without details tells names alone."""
    told: Mapping[str, object] = row if isinstance(row, dict) else {"Name": row}
    name = str(told.get("Name", ""))
    region, profile = _REGION.search(name), _PROFILE.search(json.dumps(row))
    return _Layer(
        name=name,
        kind=str(told.get("LayerType", "")),
        region=region[1] if region else "",
        profile=int(profile[1]) if profile else None,
        nodes=tuple(_NODE.findall(str(told.get("Metadata", "")))),
    )
