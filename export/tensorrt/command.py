"""`python -m export build-engine`: builds TensorRT plans of a bundle for one GPU. Must not import torch."""

import argparse
import dataclasses
import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from bundle import files
from bundle.errors import BundleError
from bundle.files import Bundle
from export.errors import ExportError
from export.progress import Progress
from trt.errors import PlanError
from trt.gpus import Gpu, NoGpu, gpus
from trt.graphs import PRECISIONS, has_arithmetic, worth_building
from trt.store import Plan, Store

NAME = "build-engine"
HELP = "build TensorRT plans of a bundle for a GPU of this machine, into the cache folder"
_GRAPH_PRECISIONS = {name: graph for graph, name in PRECISIONS.items()}
_MIB = 1 << 20


def run(arguments: Sequence[str]) -> int:
    """Run the command and return the exit code: 0 all plans are there, 1 one could not be built.

    Raises BundleError, ExportError or PlanError.
    """
    parser = argparse.ArgumentParser(prog=f"python -m export {NAME}", description=HELP)
    add_options(parser)
    return build_engine(parser.parse_args(arguments))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, help="the folder of a version, or of all versions for the highest")
    parser.add_argument(
        "--precision",
        dest="precisions",
        type=_precisions,
        metavar="LIST",
        help="any of fp32, fp16, bf16, int8, fp8 (default: all below fp32 that passed the export's gate, else fp32)",
    )
    parser.add_argument(
        "--se",
        choices=("auto", "native", "pooled", "plugin"),
        default="auto",
        help="compute SE blocks by TensorRT's own layers (native), the same with average pools as means (pooled), this "
        "project's kernels (plugin), or the fastest of these on this GPU (auto, the default)",
    )
    parser.add_argument(
        "--max-batch", type=_batch, default=32, help="build for batches of 1, 2, 4 … up to this (default: 32)"
    )
    parser.add_argument(
        "--workspace-mib", type=_batch, default=4096, help="most scratch memory of a kernel (default: 4096)"
    )
    parser.add_argument("--gpu", type=_index, default=0, help="index of the CUDA device (default: 0)")
    parser.add_argument(
        "--cache-dir", type=Path, default=Path("~/.cache/sesame"), help="the folder for plans (default: %(default)s)"
    )
    parser.add_argument("--rebuild", action="store_true", help="build plans again that are there already")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--end-with-stdin", action="store_true", help=argparse.SUPPRESS)


def build_engine(arguments: argparse.Namespace) -> int:
    if arguments.end_with_stdin:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    bundle = files.read(files.newest(arguments.bundle))
    gpu = _gpu(arguments.gpu)
    named = [_GRAPH_PRECISIONS[name] for name in arguments.precisions or ()]
    build = _plan_builder(bundle, gpu, arguments)
    plans: list[Plan] = []
    failed = 0
    for precision in named or worth_building(bundle, gpu):
        try:
            plans.append(build(precision))
        except (BundleError, ExportError, PlanError) as error:
            why = " ".join(str(error).split())  # in one line: the server, where it starts this, reports the last line
            print(f"{precision}: {why}", file=sys.stderr)
            failed = 1
    print(_json(plans) if arguments.json else "\n".join(map(_summary, plans)))
    return failed


def _plan_builder(bundle: Bundle, gpu: Gpu, arguments: argparse.Namespace) -> Callable[[str], Plan]:
    """What finds or builds the plan of a precision. Raises ExportError where TensorRT cannot be used."""
    try:
        from export.tensorrt.planning import PlanOptions, find_or_build_plan
    except (ImportError, OSError) as error:  # OSError where one of its shared libraries is missing
        raise ExportError(f"TensorRT cannot be used ({error}): run `pip install '.[gpu]'`.") from error
    options = PlanOptions(arguments.se, _sizes(arguments.max_batch), arguments.workspace_mib * _MIB, arguments.rebuild)
    store, progress = Store(arguments.cache_dir), Progress()

    def build(precision: str) -> Plan:
        if not has_arithmetic(gpu, precision):
            raise ExportError(f"{gpu.name} does not support this precision.")
        return find_or_build_plan(bundle, precision, gpu, options, store, progress)

    return build


def _end_with_stdin() -> None:
    """End the process when standard input closes, in a thread of its own: the server that started it has ended.

    No file is left half-written, see `trt.store`.
    """
    while os.read(0, 4096):  # not sys.stdin, whose lock would delay the end of the interpreter
        pass
    os._exit(130)


def _gpu(index: int) -> Gpu:
    try:
        return gpus()[index]
    except NoGpu as error:
        raise ExportError(f"No engine can be built: {error}.") from error
    except IndexError:
        raise ExportError(f"There is no GPU {index}: CUDA has {len(gpus())}, counted from 0.") from None


def _sizes(most: int) -> tuple[int, ...]:
    """1, 2, 4 … below the largest batch size, and that one."""
    return (*(1 << power for power in range(most.bit_length()) if 1 << power < most), most)


def _json(plans: list[Plan]) -> str:
    return json.dumps([{"plan": str(plan.path), **dataclasses.asdict(plan.sidecar)} for plan in plans], indent=1)


def _summary(plan: Plan) -> str:
    """The facts of a plan, for people."""
    known = plan.sidecar
    lines = [f"{plan.path}  {known.precision}, SE {known.se}, {known.bytes / _MIB:.0f} MiB"]
    for way, seconds in known.seconds.items():
        rates = ", ".join(f"{int(size) / duration:.0f} in {size}s" for size, duration in seconds.items())
        lines.append(f"  SE {way}: images/s {rates}")
    if known.layers:
        of_se = f"{len(known.layers.se)} compute SE, {known.layers.reformats} reformat tensors"
        lines.append(f"  {known.layers.count} layers: {of_se}")
    lines.append(f"  probe max |Δp| {known.parity.max_dp:.1e}, same best class for {known.parity.top1_agreement:.1%}")
    return "\n".join(lines)


def _precisions(text: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(text.split(",")))
    if unknown := set(chosen) - set(_GRAPH_PRECISIONS):
        raise argparse.ArgumentTypeError(f"{min(unknown)!r} is none of {', '.join(_GRAPH_PRECISIONS)}")
    return chosen


def _batch(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1 << 20:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {1 << 20}")
    return int(text)


def _index(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not the index of a GPU: 0, 1 …")
    return int(text)
