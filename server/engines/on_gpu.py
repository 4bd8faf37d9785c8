"""On GPUs: TensorRT where each of them has a plan, CUDA by ONNX Runtime where that is installed."""

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from types import ModuleType

from bundle.files import Bundle
from plans.gpus import Gpu
from plans.store import Plan, Store, Target
from server.engines.candidate import Candidate, graphs

log = logging.getLogger(__name__)

_TOLD = {"int8-trt": "int8"}
"""What users call the precision of a graph."""


def tensorrt(bundle: Bundle, gpus: Sequence[Gpu], store: Store) -> Iterator[Candidate]:
    """TensorRT over every graph for which each GPU has a plan of its own."""
    if not gpus or (runner := _runner()) is None:
        return
    from server.engines.trt import TensorRtEngine

    for graph in graphs(bundle, ("fp32", "fp16", "bf16", "int8-trt", "fp8")):
        fitting = [store.fitting(graph.sha256, Target.of(gpu, runner.TENSORRT)) for gpu in gpus]
        if all(fitting):
            plans = [newest for newest, *_ in fitting]
            precision = _TOLD.get(graph.precision, graph.precision)
            yield Candidate(
                TensorRtEngine.name,
                precision,
                lambda number, plans=plans, precision=precision: TensorRtEngine(
                    plans[number], gpus[number].index, precision
                ),
                "gpu",
                len(gpus),
                " ".join(plan.sidecar.key for plan in plans),
            )


def cuda(bundle: Bundle, gpus: Sequence[Gpu], max_batch: int) -> Iterator[Candidate]:
    """ONNX Runtime's CUDA provider over the graphs that it has kernels for."""
    if not gpus or ortcuda.unavailable():
        return
    for graph in graphs(bundle, ortcuda.PRECISIONS):
        path = bundle.path / graph.file
        yield Candidate(
            OrtCudaEngine.name,
            graph.precision,
            lambda number, path=path, precision=graph.precision: OrtCudaEngine(
                path, gpus[number].index, precision, max_batch
            ),
            "gpu",
            len(gpus),
            " ".join(f"{gpu.name} {gpu.driver}" for gpu in gpus),
        )


def _runner() -> ModuleType | None:
    """What runs plans; None without TensorRT, the import of which loads its libraries."""
    try:
        from plans import runner
    except (ImportError, OSError) as error:
        log.debug("no TensorRT: %s", error)
        return None
    return runner
