"""Choice: which engine and which graph of a bundle this machine runs, and why."""

from dataclasses import dataclass

from bundle.files import Bundle
from server.engines import Engine
from server.engines.ort import OrtCpuEngine


@dataclass(frozen=True)
class Choice:
    """An engine over one graph of a bundle; `why` is told to operators."""

    engine: Engine
    why: str


def choose(bundle: Bundle, threads: int) -> Choice:
    """Raises BundleError where the bundle has no graph that an engine here can run."""
    graph, path = bundle.graph("fp32")
    return Choice(OrtCpuEngine(path, threads), f"the engine for {graph.precision} graphs on a CPU")
