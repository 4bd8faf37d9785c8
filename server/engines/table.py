"""Table: every engine that this server knows. A new engine is one entry here, and one file.

The file is to hold what `machine.Runtime` says. The settings read this table too, so it imports no runtime.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["cpu", "gpu"]
"""The kind of a device. A batch on one kind never waits for a batch on the other."""

AUTO = "auto"


@dataclass(frozen=True)
class EngineEntry:
    """An engine. `name` is what settings, answers, metrics and bundles call it; `module` is imported when it is needed.

    `packages`: those whose versions its speed depends on. `needs`: what must be there before it can run a bundle, with
    the command that makes it.
    """

    name: str
    title: str
    device: Kind
    module: str
    packages: tuple[str, ...] = ()
    needs: str = ""


_ONNXRUNTIME = ("onnxruntime", "onnxruntime-gpu")  # one of them is installed, and has both providers' code

TENSORRT = EngineEntry(
    "tensorrt",
    "TensorRT",
    "gpu",
    "server.engines.tensorrt_gpu",  # a plan names the version of TensorRT that runs it, so no package is listed
    needs="a plan for each GPU: run `python -m export build-engine` with the same --cache-dir",
)
ONNXRUNTIME_CUDA = EngineEntry(
    "onnxruntime-cuda", "ONNX Runtime", "gpu", "server.engines.onnxruntime_cuda", _ONNXRUNTIME
)
ONNXRUNTIME_CPU = EngineEntry("onnxruntime-cpu", "ONNX Runtime", "cpu", "server.engines.onnxruntime_cpu", _ONNXRUNTIME)
OPENVINO_CPU = EngineEntry("openvino-cpu", "OpenVINO", "cpu", "server.engines.openvino_cpu", ("openvino",))

ENGINES = (TENSORRT, ONNXRUNTIME_CUDA, ONNXRUNTIME_CPU, OPENVINO_CPU)
"""On GPUs an earlier engine is preferred to a later one; engines on the CPU are timed against each other."""


def names() -> tuple[str, ...]:
    """The values of the setting `engine`."""
    return (AUTO, *(entry.name for entry in ENGINES))


def wants_gpus(engine: str) -> bool:
    """Whether an engine on GPUs may be chosen with this value of the setting `engine`."""
    return any(entry.device == "gpu" and engine in (AUTO, entry.name) for entry in ENGINES)
