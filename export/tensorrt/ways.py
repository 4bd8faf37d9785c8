"""Ways: the ways to compute SE blocks on a GPU, each built and compared with the bundle's probe."""

import logging
from dataclasses import dataclass
from types import ModuleType

from bundle import parity
from bundle.files import Bundle
from bundle.parity import Parity
from export.errors import ExportError
from export.graphs.se_functions import outline
from export.progress import Progress
from export.tensorrt.build import Builder
from export.tensorrt.pooled import use_average_pools
from trt.errors import PlanError
from trt.gpus import Gpu
from trt.runner import Runner
from trt.sidecar import Way

log = logging.getLogger(__name__)

POOLED_ABOVE = 14 * 14
"""Maps of more pixels are pooled by TensorRT before the gate's kernel, which has only one block for an image."""


@dataclass(frozen=True)
class BuiltPlan:
    """The plan of one way, a runner of it, and its parity on the bundle's probe."""

    data: bytes
    runner: Runner
    parity: Parity


def select_ways(se: str) -> tuple[Way, ...]:
    """The ways of the option `--se`: one, or all for "auto", but no plugins where they cannot be compiled here."""
    if se == "native":
        return ("native",)
    if se == "pooled":
        return ("pooled",)
    try:
        load_plugins()
    except ExportError as error:
        if se == "plugin":
            raise
        log.warning("%s", error)
        return ("native", "pooled")
    return ("plugin",) if se == "plugin" else ("native", "pooled", "plugin")


def load_plugins() -> ModuleType:
    """The module `plugins`, whose import takes a second. Raises ExportError where a library for it is missing."""
    try:
        from export.tensorrt import plugins
    except ImportError as error:
        raise ExportError(
            f"SE's kernels cannot be compiled here ({error}): run `pip install triton` and use TensorRT 10.9 or newer, "
            "or use --se native."
        ) from error
    return plugins


def build_ways(
    wanted: tuple[Way, ...], bundle: Bundle, precision: str, gpu: Gpu, builder: Builder, progress: Progress
) -> dict[Way, BuiltPlan]:
    """Build each way. A way that fails is left out; where all fail, the first error is raised.

    A way fails where TensorRT cannot build it or its answers differ too much from the probe's.
    """
    done: dict[Way, BuiltPlan] = {}
    errors: list[ExportError | PlanError] = []
    for way in wanted:
        progress.step(f"{precision}, SE {way}: building, this takes minutes")
        try:
            done[way] = _build_way(way, bundle, precision, gpu, builder, progress)
        except (ExportError, PlanError) as error:
            log.warning("%s, SE %s: %s", precision, way, error)
            errors.append(error)
        except Exception as error:  # TensorRT and CUDA have their own, for example where the GPU's memory is full
            log.warning("%s, SE %s", precision, way, exc_info=True)
            cause = f"{type(error).__name__}: {error}"
            errors.append(ExportError(f"{cause}. Try while nothing else uses the GPU, or a smaller --max-batch."))
    if not done:
        raise errors[0]
    return done


def _build_way(way: Way, bundle: Bundle, precision: str, gpu: Gpu, builder: Builder, progress: Progress) -> BuiltPlan:
    data = builder.build(_graph(way, bundle, precision, gpu), progress)
    runner = Runner(data, gpu.index)
    by_size = [_compare(runner, bundle, size) for size in runner.sizes]
    failed = [one for one in by_size if not one.passes(precision)]
    found = max(failed or by_size, key=lambda one: one.max_dp)
    if failed:
        raise ExportError(
            f"The plan's answers differ from the bundle's probe: max |Δp| {found.max_dp:.2g}, same best class for "
            f"{found.sure_agreement:.1%} of {found.sure_images} sure images. Try another --precision or --se."
        )
    return BuiltPlan(data, runner, found)


def _compare(runner: Runner, bundle: Bundle, size: int) -> Parity:
    """The parity in batches of that size: each size has its own kernels, which may be wrong."""
    return parity.compare(bundle.probe.probabilities, runner.run(bundle.probe.pixels, size))


def _graph(way: Way, bundle: Bundle, precision: str, gpu: Gpu) -> bytes:
    """The bundle's graph (native), with average pools in its SE blocks (pooled), or with functions for its SE blocks,
    for which the parser uses the registered plugins (plugin).
    """
    plain = bundle.graph(precision)[1].read_bytes()
    if way == "native":
        return plain
    if way == "pooled":
        model, means = use_average_pools(plain, _blocks(bundle))
        if not means:
            raise ExportError("No SE block of the network has a mean of a map of known size: use --se native.")
        return model
    major, minor = gpu.compute_capability.split(".")
    load_plugins().register((int(major), int(minor)))
    outlined = outline(plain, _blocks(bundle), pooled_above=POOLED_ABOVE)
    if not outlined.blocks:
        raise ExportError("The kernels support none of the network's SE blocks: use --se native.")
    return outlined.model


def _blocks(bundle: Bundle) -> list[str]:
    return [row.name for row in bundle.manifest.architecture.se_blocks]
