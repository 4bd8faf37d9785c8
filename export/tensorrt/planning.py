"""Planning: finds or builds the fastest plan of a bundle's graph on this GPU."""

import dataclasses
import datetime
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import tensorrt

from bundle.files import Bundle
from export.graphs import se_functions, surgery
from export.progress import Progress
from export.tensorrt import build, layers, network, pooled, timing, ways
from export.tensorrt.build import Builder
from export.tensorrt.timing import Seconds
from export.tensorrt.ways import BuiltPlan
from trt import sidecar
from trt.errors import PlanError
from trt.gpus import Gpu
from trt.runner import TENSORRT
from trt.sidecar import Sidecar, Target, Way
from trt.store import Plan, Store

log = logging.getLogger(__name__)


_FILES = [str(module.__file__) for module in (build, network, se_functions, surgery, pooled, ways)]
_CODE = hashlib.sha256(b"".join(Path(file).read_bytes() for file in _FILES)).hexdigest()
"""SHA-256 of the code that decides how a graph becomes a plan, without the kernels."""


@dataclass(frozen=True)
class PlanOptions:
    """The user's options. `se`: native, pooled, plugin, or auto for the fastest of them."""

    se: str
    batches: tuple[int, ...]
    workspace_bytes: int
    rebuild: bool


def find_or_build_plan(
    bundle: Bundle, precision: str, gpu: Gpu, options: PlanOptions, store: Store, progress: Progress
) -> Plan:
    """The plan of the bundle's graph in that precision; built unless the store has exactly this plan.

    Raises ExportError or PlanError.
    """
    selected = ways.select_ways(options.se)
    target = Target.of(gpu, TENSORRT)
    dependencies = _dependencies(bundle, precision, target, options, selected)
    key = sidecar.key(dependencies)
    with store.lock(lambda: progress.step("waiting until another build ends")):
        if not options.rebuild and (plan := _whole(store.get(key))):
            progress.step(f"{precision}: already built, {plan.path.name}")
            return plan
        builder = Builder(options.batches, options.workspace_bytes, gpu.index, target, store)
        built = ways.build_ways(selected, bundle, precision, gpu, builder, progress)
        seconds = timing.measure({way: one.runner for way, one in built.items()}, bundle.probe.pixels)
        way = timing.fastest(seconds)
        dependencies = _dependencies(bundle, precision, target, options, tuple(built))  # without those that failed
        plan = store.put(built[way].data, _sidecar(bundle, precision, target, dependencies, way, built[way], seconds))
        progress.step(f"{precision}: SE {way} is fastest, saved as {plan.path.name}")
        return plan


def _whole(plan: Plan | None) -> Plan | None:
    """The plan if its file is whole, else None."""
    try:
        if plan:
            plan.read()
        return plan
    except PlanError as error:
        log.warning("%s", error)
        return None


def _dependencies(
    bundle: Bundle, precision: str, target: Target, options: PlanOptions, selected: tuple[Way, ...]
) -> dict[str, str]:
    """Everything that a plan depends on. Its key is made from these values: if one changes, it is another plan."""
    return {
        "schema": str(sidecar.SCHEMA),
        "graph": bundle.graph(precision)[0].sha256,
        "precision": precision,
        "parser": str(tensorrt.get_nv_onnx_parser_version()),
        "batches": json.dumps(options.batches),
        "workspace_bytes": str(options.workspace_bytes),
        "se": "+".join(selected),
        "kernels": ways.load_plugins().fingerprint() if "plugin" in selected else "",
        "code": _CODE,
        **dataclasses.asdict(target),
        "multiprocessors": str(target.multiprocessors),
    }


def _sidecar(
    bundle: Bundle,
    precision: str,
    target: Target,
    dependencies: dict[str, str],
    way: Way,
    built: BuiltPlan,
    seconds: dict[Way, Seconds],
) -> Sidecar:
    return Sidecar(
        schema=sidecar.SCHEMA,
        key=sidecar.key(dependencies),
        created=datetime.datetime.now(datetime.UTC).isoformat(),
        bundle=f"{bundle.manifest.name}/{bundle.manifest.version}",
        graph_sha256=bundle.graph(precision)[0].sha256,
        precision=precision,
        se=way,
        target=target,
        batch_sizes=tuple(built.runner.sizes),
        made_from=dependencies,
        seconds=dict(seconds),
        parity=built.parity,
        layers=layers.inspect_layers(built.runner.engine, [row.name for row in bundle.manifest.architecture.se_blocks]),
        sha256=hashlib.sha256(built.data).hexdigest(),
        bytes=len(built.data),
    )
