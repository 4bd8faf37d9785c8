"""Layers: reads from TensorRT's inspector which layers a plan has."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tensorrt

from trt.sidecar import Layers

log = logging.getLogger(__name__)

_NODE = re.compile(r"\[ONNX Layer: ([^]|]+?)(?: \|[^]]*)?\]")
"""In a layer's metadata: a node that the layer computes, and the functions it came from."""
_PROFILE = re.compile(r"\[profile (\d+)\]")
_REGION = re.compile(r"_(myl\d+)_\d+$")
"""Ends the names of layers from one compilation, which belongs to one profile. In names of generated kernels such as
`__myl_MulAddRelu_myl2_16` it is the only sign of the profile."""
_COPIES = re.compile(r"reformat|^__myl_(Tran|Move)+_", re.IGNORECASE)
_NO_LAYERS = ("signal", "wait")
"""Types of rows that only synchronise streams."""


@dataclass(frozen=True)
class _InspectorRow:
    """A layer as the inspector lists it. `profile` is None where the row names none; `nodes` are computed by it."""

    name: str
    kind: str
    region: str
    profile: int | None
    nodes: tuple[str, ...]

    def of_se(self, blocks: Sequence[str]) -> bool:
        """Whether it computes part of an SE block; names may contain nodes: `PWN(PWN(layer1.0/se/Sigmoid, …), …)`."""
        return any(f"{block}/se/" in text for block in blocks for text in (self.name, *self.nodes))

    def __str__(self) -> str:
        return f"{self.name}: {' + '.join(self.nodes)}" if self.nodes else self.name


def inspect_layers(engine: "tensorrt.ICudaEngine", blocks: Sequence[str]) -> Layers | None:
    """The layers for the first batch size; None where the inspector lists none. `blocks`: names of the SE blocks."""
    text = engine.create_engine_inspector().get_engine_information(tensorrt.LayerInformationFormat.JSON)
    try:
        rows = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        log.warning("TensorRT's inspector does not list the engine's layers: %r", error)
        return None
    layers = _first_profile([_inspector_row(row) for row in rows])
    reformats = sum(bool(_COPIES.search(f"{layer.name} {layer.kind}")) for layer in layers)
    return Layers(len(layers), reformats, tuple(str(layer) for layer in layers if layer.of_se(blocks)))


def _first_profile(layers: Sequence[_InspectorRow]) -> list[_InspectorRow]:
    """The layers of profile 0: neither the row of a layer nor another row of its region names a profile."""
    regions = {layer.region: layer.profile for layer in layers if layer.region and layer.profile}
    return [
        layer
        for layer in layers
        if not (layer.profile or regions.get(layer.region)) and layer.kind.lower() not in _NO_LAYERS
    ]


def _inspector_row(row: object) -> _InspectorRow:
    """A row of the inspector's JSON, which is only a name where the engine was built without details."""
    fields: Mapping[str, object] = row if isinstance(row, dict) else {"Name": row}
    name = str(fields.get("Name", ""))
    region, profile = _REGION.search(name), _PROFILE.search(json.dumps(row))
    return _InspectorRow(
        name=name,
        kind=str(fields.get("LayerType", "")),
        region=region[1] if region else "",
        profile=int(profile[1]) if profile else None,
        nodes=tuple(_NODE.findall(str(fields.get("Metadata", "")))),
    )
