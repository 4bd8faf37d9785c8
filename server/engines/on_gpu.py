"""On GPUs: TensorRT where each of them has a plan, and CUDA by ONNX Runtime."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

from bundle.files import Bundle
from bundle.manifest import Graph
from plans.gpus import Gpu
from plans.store import Plan, Store, Target
from server.engines import Engine, ortcuda
from server.engines.candidate import Candidate
from server.engines.ortcuda import OrtCudaEngine

log = logging.getLogger(__name__)

TENSORRT = "tensorrt"
_PRECISIONS = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16", "int8-trt": "int8", "fp8": "fp8"}
"""Of the graphs that TensorRT takes, and as users say them."""


def tensorrt(bundle: Bundle, gpus: Sequence[Gpu], store: Store) -> Iterator[Candidate]:
    """TensorRT over every graph for which each GPU has a plan of its own."""
    if not gpus or (runner := _runner()) is None:
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
    return bool(gpus) and _runner() is not None


def _proven(bundle: Bundle, precisions: Sequence[str]) -> Iterator[Graph]:
    """What a lower precision costs was judged on a CPU; the engine itself is compared with the probe when it loads."""
    proven = {(row.file, row.precision) for row in bundle.manifest.parity}
    for graph in bundle.manifest.graphs:
        if graph.precision in precisions and (graph.precision == "fp32" or (graph.file, graph.precision) in proven):
            yield graph


def _on_plans(plans: Sequence[Plan], gpus: Sequence[Gpu], precision: str) -> Callable[[int], Engine]:
    from server.engines.trt import TensorRtEngine

    return lambda number: TensorRtEngine(plans[number], gpus[number].index, precision)


def _on_cuda(graph: Path, gpus: Sequence[Gpu], precision: str, max_batch: int) -> Callable[[int], Engine]:
    return lambda number: OrtCudaEngine(graph, gpus[number].index, precision, max_batch)


def _runner() -> ModuleType | None:
    """What runs plans; None without TensorRT, the import of which loads its libraries."""
    try:
        from plans import runner
    except (ImportError, OSError) as error:
        log.debug("no TensorRT: %s", error)
        return None
    return runner
