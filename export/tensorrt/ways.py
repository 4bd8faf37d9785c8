"""Ways: how SE blocks can be computed on a GPU, each built, proven on the bundle's probe, and timed."""

import logging
from dataclasses import dataclass
from types import ModuleType

from bundle import parity
from bundle.files import Bundle
from bundle.parity import Parity
from export.errors import ExportError
from export.outline import outline
from export.progress import Progress
from export.tensorrt.build import Builder
from export.tensorrt.pooled import pooled
from plans.errors import PlanError
from plans.gpus import Gpu
from plans.runner import Runner
from plans.sidecar import Way

log = logging.getLogger(__name__)

POOLED_ABOVE = 14 * 14
"""Pixels of a map above which TensorRT's own pooling feeds the gate's kernel, as that one has one block an image."""


@dataclass(frozen=True)
class Made:
    """A plan of one way, and what it keeps of the bundle's answers to its probe."""

    data: bytes
    runner: Runner
    parity: Parity


def ways(wished: str) -> tuple[Way, ...]:
    """Those that `--se` asks for: one, or all for auto, without the kernels where they cannot be compiled here."""
    if wished == "native":
        return ("native",)
    if wished == "pooled":
        return ("pooled",)
    try:
        kernels()
    except ExportError as error:
        if wished == "plugin":
            raise
        log.warning("%s", error)
        return ("native", "pooled")
    return ("plugin",) if wished == "plugin" else ("native", "pooled", "plugin")


def kernels() -> ModuleType:
    """The plugins, the import of which takes a second. Raises ExportError where something that they need is missing."""
    try:
        from export.tensorrt import plugins
    except ImportError as error:
        raise ExportError(
            f"The project's kernels for SE cannot be compiled here ({error}): run `pip install triton`, have TensorRT "
            "10.9 or newer, or use --se native."
        ) from error
    return plugins


def made(
    wanted: tuple[Way, ...], bundle: Bundle, precision: str, gpu: Gpu, builder: Builder, progress: Progress
) -> dict[Way, Made]:
    """Each way that can be built and keeps what its precision must; where there is none the first one's error."""
    done: dict[Way, Made] = {}
    errors: list[ExportError | PlanError] = []
    for way in wanted:
        progress.step(f"{precision}, SE {way}: building, which takes minutes")
        try:
            done[way] = _made(way, bundle, precision, gpu, builder, progress)
        except (ExportError, PlanError) as error:
            log.warning("%s, SE %s: %s", precision, way, error)
            errors.append(error)
        except Exception as error:  # TensorRT and CUDA raise their own, as where the GPU's memory is full
            log.warning("%s, SE %s", precision, way, exc_info=True)
            told = f"{type(error).__name__}: {error}"
            errors.append(ExportError(f"{told}. Try while nothing else uses the GPU, or a smaller --max-batch."))
    if not done:
        raise errors[0]
    return done


def _made(way: Way, bundle: Bundle, precision: str, gpu: Gpu, builder: Builder, progress: Progress) -> Made:
    data = builder.build(_graph(way, bundle, precision, gpu), progress)
    runner = Runner(data, gpu.index)
    by_size = [_compared(runner, bundle, size) for size in runner.sizes]
    failed = [one for one in by_size if not one.kept(precision)]
    found = max(failed or by_size, key=lambda one: one.max_dp)
    if failed:
        raise ExportError(
            f"The plan does not answer the bundle's probe as its export did: max |Δp| {found.max_dp:.2g}, best class "
            f"kept for {found.sure_agreement:.1%} of {found.sure_images} sure images. Try another --precision or --se."
        )
    return Made(data, runner, found)


def _compared(runner: Runner, bundle: Bundle, size: int) -> Parity:
    """Each batch size has kernels of its own."""
    return parity.compare(bundle.probe.probabilities, runner.run(bundle.probe.pixels, size))


def _graph(way: Way, bundle: Bundle, precision: str, gpu: Gpu) -> bytes:
    """Plain, with average pools in SE blocks, or with functions in their place, for which the parser then finds the
    project's kernels.
    """
    plain = bundle.graph(precision)[1].read_bytes()
    if way == "native":
        return plain
    if way == "pooled":
        model, means = pooled(plain, _blocks(bundle))
        if not means:
            raise ExportError("None of the network's SE blocks takes a mean of a map of known size: use --se native.")
        return model
    major, minor = gpu.compute_capability.split(".")
    kernels().register((int(major), int(minor)))
    outlined = outline(plain, _blocks(bundle), pooled_above=POOLED_ABOVE)
    if not outlined.blocks:
        raise ExportError("None of the network's SE blocks is of the kind that the kernels compute: use --se native.")
    return outlined.model


def _blocks(bundle: Bundle) -> list[str]:
    return [row.name for row in bundle.manifest.architecture.se_blocks]
