"""`python -m bench.kernels`: SE's kernels on a GPU, beside PyTorch and the rate at which the card copies."""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.testing import do_bench

from bench.running import ROOT
from tests.support import se_kernels

_STAGES = [(256, 16, 56), (512, 32, 28), (1024, 64, 14), (2048, 128, 7)]
"""Channels, squeezed, height and width: what SE meets in SE-ResNet-50."""
_PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
_COPIED_BYTES = 1 << 30

Tensors = dict[str, torch.Tensor]
Computation = Callable[[Tensors], torch.Tensor]


@dataclass(frozen=True)
class KernelTiming:
    """The time of one implementation of a function on one map, and how it compares with a mere copy of the bytes."""

    function: str
    way: str
    batch: int
    channels: int
    pixels: int
    ms: float
    minimum_bytes: int
    gb_per_s: float
    times_copying: float


def main() -> None:
    """A table goes to standard output, and all figures to --json."""
    options = _parser().parse_args()
    if not torch.cuda.is_available():
        sys.exit("bench.kernels needs a GPU and PyTorch for CUDA: here is none, and nothing was measured.")
    copied = _copied_gb_per_s()
    rows = list(_rows(options.batches, _PRECISIONS[options.precision], copied, options.rounds))
    print(f"{torch.cuda.get_device_name()}, {options.precision}, NHWC; copies {copied:.0f} GB/s, read and written")
    for row in rows:
        size = f"{row.batch} x {row.channels} x {row.pixels}"
        print(f"{row.function:<16}{row.way:<16}{size:<18}{row.ms * 1e3:9.1f} µs{row.gb_per_s:8.0f} GB/s"
              f"{row.times_copying:7.2f} x copying")  # fmt: skip
    options.json.write_text(json.dumps(_document(rows, options.precision, copied), indent=1) + "\n", encoding="utf-8")


def _rows(batches: list[int], dtype: torch.dtype, copied_gb_per_s: float, rounds: int) -> Iterator[KernelTiming]:
    for batch in batches:
        for channels, squeezed, side in _STAGES:
            given = _tensors(batch, channels, squeezed, side, dtype)
            for function, (read, ways) in _functions().items():
                moved = sum(given[name].nbytes for name in read) + ways["torch"](given).nbytes
                for way, run in ways.items():
                    torch._dynamo.reset()
                    ms = statistics.median(_ms(run, given) for _ in range(rounds))
                    rate = moved / ms / 1e6
                    yield KernelTiming(function, way, batch, channels, side**2, ms, moved, rate, copied_gb_per_s / rate)


def _functions() -> dict[str, tuple[tuple[str, ...], dict[str, Computation]]]:
    """For each function: the names of the tensors that it reads, and its implementations by name."""
    weights = ("w1", "b1", "w2", "b2")
    return {
        "gate": (("x", *weights), _ways(_gate, lambda t, tactic: se_kernels.gate(t["x"], *_weights(t), tactic=tactic))),
        "gate of a pool": (
            ("mean", *weights),
            _ways(_gate_of_pool, lambda t, tactic: se_kernels.gate(t["mean"], *_weights(t), tactic=tactic)),
        ),
        "scale": (("x", "gates"), _ways(_scale, lambda t, tactic: se_kernels.scale(t["x"], t["gates"], tactic))),
        "scale, add, relu": (
            ("x", "gates", "residual"),
            _ways(_all, lambda t, tactic: se_kernels.scale_add_relu(t["x"], t["gates"], t["residual"], tactic)),
        ),
    }


def _ways(eager: Computation, kernel: Callable[[Tensors, int], torch.Tensor]) -> dict[str, Computation]:
    return {
        "torch": eager,
        "torch.compile": torch.compile(eager, fullgraph=True),
        "kernel, 1": lambda given: kernel(given, 1),
        "kernel, 2": lambda given: kernel(given, 2),
    }


def _gate(given: Tensors) -> torch.Tensor:
    return _excited(given, given["x"].mean((2, 3), keepdim=True))


def _gate_of_pool(given: Tensors) -> torch.Tensor:
    return _excited(given, given["mean"])


def _excited(given: Tensors, mean: torch.Tensor) -> torch.Tensor:
    w1, b1, w2, b2 = _weights(given)
    squeezed = torch.relu(torch.nn.functional.conv2d(mean, w1, b1))
    return torch.sigmoid(torch.nn.functional.conv2d(squeezed, w2, b2))


def _scale(given: Tensors) -> torch.Tensor:
    return given["x"] * given["gates"]


def _all(given: Tensors) -> torch.Tensor:
    return torch.relu(given["x"] * given["gates"] + given["residual"])


def _weights(given: Tensors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    return given["w1"], given["b1"], given["w2"], given["b2"]


def _tensors(batch: int, channels: int, squeezed: int, side: int, dtype: torch.dtype) -> Tensors:
    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device="cuda", dtype=dtype)

    maps = {
        name: drawn(batch, channels, side, side).to(memory_format=torch.channels_last) for name in ("x", "residual")
    }
    gates = torch.sigmoid(drawn(batch, channels, 1, 1))
    w1, w2 = drawn(squeezed, channels, 1, 1) / channels**0.5, drawn(channels, squeezed, 1, 1) / squeezed**0.5
    mean = maps["x"].mean((2, 3), keepdim=True)
    return {**maps, "gates": gates, "mean": mean, "w1": w1, "b1": drawn(squeezed), "w2": w2, "b2": drawn(channels)}


def _ms(run: Computation, given: Tensors) -> float:
    """The median time of all runs that fit into 100 ms. The L2 cache is emptied before each, so that data comes from
    memory.
    """
    return float(do_bench(lambda: run(given), return_mode="median"))


def _copied_gb_per_s() -> float:
    source = torch.empty(_COPIED_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * _COPIED_BYTES / float(do_bench(lambda: target.copy_(source), return_mode="median")) / 1e6


def _document(rows: list[KernelTiming], precision: str, copied_gb_per_s: float) -> dict[str, Any]:
    return {
        "card": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "precision": precision,
        "copied_gb_per_s": copied_gb_per_s,
        "rows": [asdict(row) for row in rows],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.kernels", description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--precision", choices=sorted(_PRECISIONS), default="fp16")
    parser.add_argument("--rounds", type=int, default=5, help="medians are over so many rounds (default: 5)")
    default = ROOT / "bench" / "results" / "kernels.json"
    parser.add_argument("--json", type=Path, default=default, metavar="PATH", help="the file for all results")
    return parser


if __name__ == "__main__":
    main()
