"""TensorRT: a plan that was built for this very GPU."""

from collections.abc import Callable

from bundle.images import Pixels
from bundle.predictions import Probabilities
from plans.runner import Runner
from plans.store import Plan
from server.engines.remade import Remade

NAME = "tensorrt"


def engine(plan: Plan, gpu: int, precision: str) -> Remade:
    """Begins a batch while the one before it is computed. Raises PlanError, or what CUDA does."""
    return Remade(NAME, precision, lambda: _Planned(Runner(plan.read(), gpu)))


class _Planned:
    """A runner that also takes more images than its plan does at once, as a plan may have been built for fewer."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def start(self, pixels: Pixels) -> Callable[[], Probabilities]:
        if len(pixels) > self._runner.sizes[-1]:
            return lambda: self._runner.run(pixels)
        return self._runner.start(pixels)
