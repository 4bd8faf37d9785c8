"""`python -m export build-engine`: TensorRT plans of a bundle for one GPU. Needs no torch."""

import argparse
import dataclasses
import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from bundle import files
from bundle.errors import BundleError
from export.errors import ExportError
from export.progress import Progress
from plans.errors import PlanError
from plans.gpus import Gpu, NoGpu, gpus
from plans.graphs import PRECISIONS, has_arithmetic, worth_building
from plans.store import Plan, Store

NAME = "build-engine"
HELP = "build TensorRT plans of a bundle for a GPU of this machine, into the cache folder"
_PRECISIONS = {told: graph for graph, told in PRECISIONS.items()}
_MIB = 1 << 20


def run(arguments: Sequence[str]) -> int:
    """The exit code: 0 all is built, 1 something is not. Raises BundleError, ExportError or PlanError."""
    parser = argparse.ArgumentParser(prog=f"python -m export {NAME}", description=HELP)
    add_options(parser)
    return build_engine(parser.parse_args(arguments))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, help="its folder, or that of all its versions for the highest")
    parser.add_argument(
        "--precision",
        dest="precisions",
        type=_precisions,
        metavar="LIST",
        help="of fp32, fp16, bf16, int8, fp8 (default: all below fp32 whose proof the bundle holds, or fp32)",
    )
    parser.add_argument(
        "--se",
        choices=("auto", "native", "pooled", "plugin"),
        default="auto",
        help="SE blocks by TensorRT's own layers, by them with average pools for means, by this project's kernels, or "
        "the fastest on this GPU (default)",
    )
    parser.add_argument("--max-batch", type=_batch, default=32, help="batches of 1, 2, 4 … up to it (default: 32)")
    parser.add_argument("--workspace-mib", type=_batch, default=4096, help="for one kernel (default: 4096)")
    parser.add_argument("--gpu", type=_index, default=0, help="which of CUDA's devices (default: 0)")
    parser.add_argument("--cache-dir", type=Path, default=Path("~/.cache/sesame"), help="default: %(default)s")
    parser.add_argument("--rebuild", action="store_true", help="also what is there already")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--end-with-stdin", action="store_true", help=argparse.SUPPRESS)


def build_engine(told: argparse.Namespace) -> int:
    if told.end_with_stdin:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    bundle = files.read(files.newest(told.bundle))
    gpu = _gpu(told.gpu)
    wanted = [_PRECISIONS[name] for name in told.precisions] if told.precisions else worth_building(bundle, gpu)
    try:
        from export.tensorrt.planning import Wish, planned
    except (ImportError, OSError) as error:  # the latter where a library of it is missing
        raise ExportError(f"TensorRT cannot be used ({error}): run `pip install '.[gpu]'`.") from error
    wish = Wish(told.se, _sizes(told.max_batch), told.workspace_mib * _MIB, told.rebuild)
    store, progress, failed = Store(told.cache_dir), Progress(), 0
    plans: list[Plan] = []
    for precision in wanted:
        if not has_arithmetic(gpu, precision):
            print(f"{precision}: {gpu.name} has no arithmetic of it.", file=sys.stderr)
            failed = 1
            continue
        try:
            plans.append(planned(bundle, precision, gpu, wish, store, progress))
        except (BundleError, ExportError, PlanError) as error:
            told_why = " ".join(str(error).split())  # one line: whoever started this shows the last one
            print(f"{precision}: {told_why}", file=sys.stderr)
            failed = 1
    print(_json(plans) if told.json else "\n".join(map(_told, plans)))
    return failed


def _end_with_stdin() -> None:
    """Whoever started this has gone, perhaps without a chance to say so. Nothing is half-written: see `plans.store`."""
    while os.read(0, 4096):  # not sys.stdin, whose lock would hold the interpreter's own end up
        pass
    os._exit(130)


def _gpu(index: int) -> Gpu:
    try:
        return gpus()[index]
    except NoGpu as error:
        raise ExportError(f"No engine can be built: {error}.") from error
    except IndexError:
        raise ExportError(f"There is no GPU {index}: CUDA counts {len(gpus())} from 0.") from None


def _sizes(most: int) -> tuple[int, ...]:
    """1, 2, 4 … and the most images in a batch."""
    return (*(1 << power for power in range(most.bit_length()) if 1 << power < most), most)


def _json(plans: list[Plan]) -> str:
    return json.dumps([{"plan": str(plan.path), **dataclasses.asdict(plan.sidecar)} for plan in plans], indent=1)


def _told(plan: Plan) -> str:
    """A plan for people."""
    known = plan.sidecar
    lines = [f"{plan.path}  {known.precision}, SE {known.se}, {known.bytes / _MIB:.0f} MiB"]
    for way, seconds in known.seconds.items():
        rates = ", ".join(f"{int(size) / duration:.0f} in {size}s" for size, duration in seconds.items())
        lines.append(f"  SE {way}: images/s {rates}")
    if known.layers:
        of_se = f"{len(known.layers.se)} of them of SE, {known.layers.reformats} reformat"
        lines.append(f"  {known.layers.count} layers, {of_se}")
    lines.append(f"  probe max |Δp| {known.parity.max_dp:.1e}, best class kept for {known.parity.top1_agreement:.1%}")
    return "\n".join(lines)


def _precisions(text: str) -> tuple[str, ...]:
    wished = tuple(dict.fromkeys(text.split(",")))
    if unknown := set(wished) - set(_PRECISIONS):
        raise argparse.ArgumentTypeError(f"{min(unknown)!r} is none of {', '.join(_PRECISIONS)}")
    return wished


def _batch(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1 << 20:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {1 << 20}")
    return int(text)


def _index(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of a GPU: 0, 1 …")
    return int(text)
