"""On GPUs: TensorRT where each of them has a plan, and CUDA by ONNX Runtime."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

from bundle.files import Bundle
from bundle.manifest import Graph
from plans.gpus import Gpu
from plans.sidecar import Target
from plans.store import Plan, Store
from server.engines import Engine, ortcuda
from server.engines.candidate import Candidate
from server.engines.ortcuda import OrtCudaEngine
from server.engines.remade import Remade

log = logging.getLogger(__name__)

TENSORRT = "tensorrt"  # by name, as its module needs TensorRT
ENGINES = (TENSORRT, OrtCudaEngine.name)
_PRECISIONS = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16", "int8-trt": "int8", "fp8": "fp8"}
"""Of the graphs that TensorRT takes, and as users say them."""


def tensorrt(bundle: Bundle, gpus: Sequence[Gpu], store: Store) -> Iterator[Candidate]:
    """TensorRT over every graph for which each GPU has a plan of its own."""
    runner = _runner() if gpus else ""
    if isinstance(runner, str):
        return
    targets = [Target.of(gpu, runner.TENSORRT) for gpu in gpus]
    for graph in _proven(bundle, tuple(_PRECISIONS)):
        fitting = [store.fitting(graph.sha256, target) for target in targets]
        if all(fitting):
            plans, precision = [newest for newest, *_ in fitting], _PRECISIONS[graph.precision]
            stamp = " ".join(plan.path.stem for plan in plans)
            yield Candidate(TENSORRT, precision, _on_plans(plans, gpus, precision), stamp, "gpu", len(gpus))


def cuda(bundle: Bundle, gpus: Sequence[Gpu], max_batch: int) -> Iterator[Candidate]:
    """ONNX Runtime's CUDA provider over the graphs that it has kernels for."""
    if not gpus or ortcuda.why_not():
        return
    stamp = f"{gpus[0].name} {gpus[0].driver} {max_batch}"
    for graph in _proven(bundle, ortcuda.GRAPHS):
        make = _on_cuda(bundle.path / graph.file, gpus, graph.precision, max_batch)
        yield Candidate(OrtCudaEngine.name, graph.precision, make, stamp, "gpu", len(gpus))


def can_have_plans(gpus: Sequence[Gpu]) -> bool:
    return bool(gpus) and not isinstance(_runner(), str)


def why_not() -> dict[str, str]:
    """By engine: what keeps it from being used on GPUs that there are; "" where nothing does."""
    runner = _runner()
    return {TENSORRT: runner if isinstance(runner, str) else "", OrtCudaEngine.name: ortcuda.why_not()}


def _proven(bundle: Bundle, precisions: Sequence[str]) -> Iterator[Graph]:
    """What a lower precision costs was judged on a CPU; the engine itself is compared with the probe when it loads."""
    proven = {(row.file, row.precision) for row in bundle.manifest.parity}
    for graph in bundle.manifest.graphs:
        if graph.precision in precisions and (graph.precision == "fp32" or (graph.file, graph.precision) in proven):
            yield graph


def _on_plans(plans: Sequence[Plan], gpus: Sequence[Gpu], precision: str) -> Callable[[int], Engine]:
    from server.engines import trt

    return lambda number: trt.engine(plans[number], gpus[number].index, precision)


def _on_cuda(graph: Path, gpus: Sequence[Gpu], precision: str, max_batch: int) -> Callable[[int], Engine]:
    def on(gpu: int) -> Engine:
        return Remade(OrtCudaEngine.name, precision, lambda: OrtCudaEngine(graph, gpu, precision, max_batch))

    return lambda number: on(gpus[number].index)


def _runner() -> ModuleType | str:
    """What runs plans, or why there is none. The import loads TensorRT's libraries."""
    try:
        from plans import runner
    except (ImportError, OSError) as error:
        return f"no TensorRT ({error})"
    return runner
