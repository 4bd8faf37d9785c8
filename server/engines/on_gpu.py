"""On GPUs: TensorRT where each of them has a plan, and CUDA by ONNX Runtime."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

from bundle.files import Bundle
from plans.gpus import Gpu
from plans.graphs import PRECISIONS, proven
from plans.sidecar import Target
from plans.store import Plan, Store
from server.engines import Engine, ortcuda
from server.engines.candidate import Candidate
from server.engines.ortcuda import OrtCudaEngine
from server.engines.remade import Remade

TENSORRT = "tensorrt"  # by name, as its module needs TensorRT
ENGINES = (TENSORRT, OrtCudaEngine.name)


def tensorrt(bundle: Bundle, gpus: Sequence[Gpu], store: Store) -> Iterator[Candidate]:
    """TensorRT over every graph for which each GPU has a plan of its own."""
    runner = _runner() if gpus else ""
    if isinstance(runner, str):
        return
    targets = [Target.of(gpu, runner.TENSORRT) for gpu in gpus]
    for graph in proven(bundle, PRECISIONS):
        fitting = [store.fitting(graph.sha256, target) for target in targets]
        if all(fitting):
            plans, precision = [newest for newest, *_ in fitting], PRECISIONS[graph.precision]
            stamp = " ".join(plan.path.stem for plan in plans)
            yield Candidate(TENSORRT, precision, _on_plans(plans, gpus, precision), stamp, "gpu", len(gpus))


def cuda(bundle: Bundle, gpus: Sequence[Gpu], max_batch: int) -> Iterator[Candidate]:
    """ONNX Runtime's CUDA provider over the graphs that it has kernels for."""
    if not gpus or ortcuda.why_not():
        return
    stamp = f"{gpus[0].name} {gpus[0].driver} {max_batch}"
    for graph in proven(bundle, ortcuda.GRAPHS):
        make = _on_cuda(bundle.path / graph.file, gpus, graph.precision, max_batch)
        yield Candidate(OrtCudaEngine.name, graph.precision, make, stamp, "gpu", len(gpus))


def can_have_plans(gpus: Sequence[Gpu]) -> bool:
    return bool(gpus) and not isinstance(_runner(), str)


def why_not() -> dict[str, str]:
    """By engine: what keeps it from being used on GPUs that there are; "" where nothing does."""
    runner = _runner()
    return {TENSORRT: runner if isinstance(runner, str) else "", OrtCudaEngine.name: ortcuda.why_not()}


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
