"""Descriptions: what the protocol says of the server and of its models, as JSON with the names of its protobuf fields.

REST sends it as it is, gRPC as the message of the same fields.
"""

from typing import Any

from bundle.manifest import Manifest
from server.openinference.request import IMAGE, PIXELS, PROBABILITIES
from server.registry.catalogue import Catalogue
from server.registry.entry import State
from server.registry.loader import ReadyModel

Description = dict[str, Any]

_EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
)
_SHARED_MEMORY = "system_shared_memory"
_STATES = {State.READY: "READY", State.LOADING: "LOADING", State.UNLOADED: "UNAVAILABLE", State.FAILED: "UNAVAILABLE"}


def server(version: str, shared_memory: bool) -> Description:
    extensions = sorted((*_EXTENSIONS, _SHARED_MEMORY) if shared_memory else _EXTENSIONS)
    return {"name": "sesame", "version": version, "extensions": extensions}


def model(catalogue: Catalogue, name: str, version: str) -> Description:
    """The metadata of a model, for the version that a request of this name and version would get."""
    ready = catalogue.pick(name, version)
    manifest = ready.loaded.bundle.manifest
    size = manifest.preprocessing
    return {
        "name": manifest.name,
        "versions": [manifest.version] if version else _ready_versions(catalogue, manifest.name),
        "platform": _platform(ready),
        "inputs": [
            {"name": IMAGE, "datatype": "BYTES", "shape": [-1, 1]},
            {"name": PIXELS, "datatype": "UINT8", "shape": [-1, size.height, size.width, 3]},
        ],
        "outputs": [{"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, manifest.labels.classes]}],
    }


def config(catalogue: Catalogue, name: str, version: str, max_images: int) -> Description:
    """The configuration as Triton's clients read it. Both inputs are optional: exactly one of them is to be sent."""
    ready = catalogue.pick(name, version)
    manifest = ready.loaded.bundle.manifest
    return {
        "name": manifest.name,
        "platform": _platform(ready),
        "backend": "sesame",
        "max_batch_size": max_images,
        "input": _inputs(manifest),
        "output": [
            {
                "name": PROBABILITIES,
                "data_type": "TYPE_FP32",
                "dims": [manifest.labels.classes],
                "label_filename": "labels.tsv",
            }
        ],
        "version_policy": {"specific": {"versions": [int(each) for each in _ready_versions(catalogue, manifest.name)]}},
        "dynamic_batching": {"preferred_batch_size": [ready.loaded.batch], "max_queue_delay_microseconds": 0},
        "model_transaction_policy": {"decoupled": False},
        "response_cache": {"enable": False},
    }


def index(catalogue: Catalogue, only_ready: bool) -> list[Description]:
    """All model versions."""
    return [
        {"name": entry.name, "version": entry.version, "state": _STATES[entry.state], "reason": entry.reason}
        for entry in catalogue.entries()
        if entry.ready or not only_ready
    ]


def _inputs(manifest: Manifest) -> list[Description]:
    size = manifest.preprocessing
    return [
        {"name": IMAGE, "data_type": "TYPE_STRING", "dims": [1], "optional": True},
        {"name": PIXELS, "data_type": "TYPE_UINT8", "dims": [size.height, size.width, 3], "optional": True},
    ]


def _platform(ready: ReadyModel) -> str:
    return "tensorrt_plan" if ready.loaded.engine.name == "tensorrt" else "onnx_onnxv1"


def _ready_versions(catalogue: Catalogue, name: str) -> list[str]:
    return [entry.version for entry in catalogue.versions(name) if entry.ready]
