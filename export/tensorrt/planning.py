"""Planning: for each graph of a bundle the plan that is fastest on this GPU, unless it is there already."""

import dataclasses
import datetime
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import tensorrt as trt

from bundle.files import Bundle
from export import outline
from export.progress import Progress
from export.tensorrt import build, layers, pooled, timing, ways
from export.tensorrt.build import Builder
from export.tensorrt.timing import Seconds
from export.tensorrt.ways import Made
from plans import sidecar
from plans.errors import PlanError
from plans.gpus import Gpu
from plans.runner import TENSORRT
from plans.sidecar import Sidecar, Target, Way
from plans.store import Plan, Store

log = logging.getLogger(__name__)


_FILES = [str(module.__file__) for module in (build, outline, pooled, ways)]
_CODE = hashlib.sha256(b"".join(Path(file).read_bytes() for file in _FILES)).hexdigest()
"""Of what decides how a graph becomes a plan, besides the kernels."""


@dataclass(frozen=True)
class Wish:
    """What was asked for. `se`: native, pooled, plugin, or auto, the fastest of them."""

    se: str
    batches: tuple[int, ...]
    workspace_bytes: int
    rebuild: bool


def planned(bundle: Bundle, precision: str, gpu: Gpu, wish: Wish, kept: Store, progress: Progress) -> Plan:
    """The plan of that graph, built if the cache has none of this very kind. Raises ExportError or PlanError."""
    wanted = ways.ways(wish.se)
    target = Target.of(gpu, TENSORRT)
    made_from = _made_from(bundle, precision, target, wish, wanted)
    key = sidecar.key(made_from)
    with kept.lock(lambda: progress.step("waiting for another build")):
        if not wish.rebuild and (plan := _whole(kept.get(key))):
            progress.step(f"{precision}: there already, as {plan.path.name}")
            return plan
        builder = Builder(wish.batches, wish.workspace_bytes, gpu.index, target, kept)
        made = ways.made(wanted, bundle, precision, gpu, builder, progress)
        seconds = timing.measured({way: one.runner for way, one in made.items()}, bundle.probe.pixels)
        way = timing.fastest(seconds)
        made_from = _made_from(bundle, precision, target, wish, tuple(made))  # one that failed may be tried again
        plan = kept.put(made[way].data, _sidecar(bundle, precision, target, made_from, way, made[way], seconds))
        progress.step(f"{precision}: keeping SE {way}, as {plan.path.name}")
        return plan


def _whole(plan: Plan | None) -> Plan | None:
    """The plan, if it can still be used."""
    try:
        if plan:
            plan.read()
        return plan
    except PlanError as error:
        log.warning("%s", error)
        return None


def _made_from(bundle: Bundle, precision: str, target: Target, wish: Wish, wanted: tuple[Way, ...]) -> dict[str, str]:
    """All that a plan depends on: with any other value it is another plan."""
    return {
        "schema": str(sidecar.SCHEMA),
        "graph": bundle.graph(precision)[0].sha256,
        "precision": precision,
        "parser": str(trt.get_nv_onnx_parser_version()),
        "batches": json.dumps(wish.batches),
        "workspace_bytes": str(wish.workspace_bytes),
        "se": "+".join(wanted),
        "kernels": ways.kernels().fingerprint() if "plugin" in wanted else "",
        "code": _CODE,
        **dataclasses.asdict(target),
        "multiprocessors": str(target.multiprocessors),
    }


def _sidecar(
    bundle: Bundle,
    precision: str,
    target: Target,
    made_from: dict[str, str],
    way: Way,
    made: Made,
    seconds: dict[Way, Seconds],
) -> Sidecar:
    return Sidecar(
        schema=sidecar.SCHEMA,
        key=sidecar.key(made_from),
        created=datetime.datetime.now(datetime.UTC).isoformat(),
        bundle=f"{bundle.manifest.name}/{bundle.manifest.version}",
        graph_sha256=bundle.graph(precision)[0].sha256,
        precision=precision,
        se=way,
        target=target,
        batch_sizes=tuple(made.runner.sizes),
        made_from=made_from,
        seconds=dict(seconds),
        parity=made.parity,
        layers=layers.inspected(made.runner.engine, [row.name for row in bundle.manifest.architecture.se_blocks]),
        sha256=hashlib.sha256(made.data).hexdigest(),
        bytes=len(made.data),
    )
