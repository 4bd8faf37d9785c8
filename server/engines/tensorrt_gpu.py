"""TensorRT: plans that were built for the very GPUs of this machine."""

from collections.abc import Callable, Iterator, Sequence

from bundle.files import Bundle
from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.engines.candidate import Candidate
from server.engines.machine import Machine
from server.engines.restarting import RestartingEngine
from server.engines.table import TENSORRT
from trt import runner
from trt.gpus import Gpu
from trt.graphs import PRECISIONS, proven
from trt.runner import Runner
from trt.sidecar import Target
from trt.store import Plan


def candidates(bundle: Bundle, machine: Machine) -> Iterator[Candidate]:
    """TensorRT over each graph for which every GPU has a plan."""
    targets = [Target.of(gpu, runner.TENSORRT) for gpu in machine.gpus]
    for graph in proven(bundle, PRECISIONS):
        fitting = [machine.store.plans_for(graph.sha256, target) for target in targets]
        if all(fitting):
            yield _candidate([newest for newest, *_ in fitting], machine.gpus, PRECISIONS[graph.precision])


def _candidate(plans: Sequence[Plan], gpus: Sequence[Gpu], precision: str) -> Candidate:
    def make(number: int) -> RestartingEngine:
        return engine(plans[number], gpus[number].index, precision)

    speed_depends_on = " ".join(plan.path.stem for plan in plans)
    return Candidate(TENSORRT.name, precision, make, speed_depends_on, "gpu", len(gpus))


def engine(plan: Plan, gpu: int, precision: str) -> RestartingEngine:
    """Can begin with a batch while the one before it runs. Raises PlanError, or whatever CUDA raises."""
    return RestartingEngine(TENSORRT.name, precision, lambda: _AnySize(Runner(plan.read(), gpu)))


class _AnySize:
    """A runner that also takes more images than its plan does at once, as a plan may be built for smaller batches."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def start(self, pixels: Pixels) -> Callable[[], Probabilities]:
        if len(pixels) > self._runner.sizes[-1]:
            return lambda: self._runner.run(pixels)
        return self._runner.start(pixels)
