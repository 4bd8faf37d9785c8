"""The kernels in Triton's interpreter, beside PyTorch: prints a row for each case as JSON; needs TRITON_INTERPRET=1."""

import json
import math
from itertools import product

import torch
import triton

from export.tensorrt import tactics
from tests.export.tensorrt import cases
from tests.support import se_kernels

_SHAPES = [(1, 8, 3, 1, 1), (3, 24, 5, 7, 7), (1, 200, 13, 5, 3), (3, 8, 13, 14, 14), (3, 24, 3, 1, 1), (1, 7, 2, 5, 3)]
"""Images, channels, squeezed, height, width."""


def compared() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for shape, precision, layout in product(_SHAPES, cases.PRECISIONS, cases.FORMATS):
        given = cases.case(*shape, precision, layout)
        rows += [
            {
                "case": f"{name} {tactic} of {shape} {precision} {layout}",
                "kept": error <= cases.TOLERANCE[precision],
                "fault_seen": fault > cases.TOLERANCE[precision],
                "fault_possible": shape[3] > 1,
            }
            for name, tactic, error, fault in cases.errors(given)
        ]
    return rows


def extremes() -> dict[str, list[float]]:
    """Gates of sums far from 0, and what becomes of a NaN, of infinity and of what is negative."""
    sums = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4, math.nan, 1.0, 1.0])
    nothing = torch.zeros(1, 8, 1, 1)
    gates = se_kernels.gate(nothing, nothing, torch.zeros(1), torch.zeros(8, 1, 1, 1), sums)
    map_ = torch.tensor([math.nan, math.inf, -math.inf, -1.0, 2.0, 0.0, -0.5, 1.0]).reshape(1, 8, 1, 1)
    halves = torch.full((1, 8, 1, 1), 0.5)
    return {
        "gates": gates.flatten().tolist(),
        "pooled": se_kernels.gate(map_[:, :1], halves[:, :1], torch.zeros(1), halves[:, :1], torch.zeros(1))
        .flatten()
        .tolist(),
        "scaled": se_kernels.scale_add_relu(map_, halves, nothing).flatten().tolist(),
    }


def unwritten() -> bool:
    """Whether what lies behind the last element stays as it was."""
    kept = []
    for layout in cases.FORMATS:
        given = cases.case(3, 24, 3, 5, 3, "fp32", layout)
        room = torch.full((given.x.numel() + 4096,), 7.0)
        variant = tactics.scale(24, 15, layout == "HWC8", 1)
        programs = triton.cdiv(given.x.numel(), variant.elements)
        variant.kernel[(programs,)](given.x, given.gates, 3, room, **variant.constants)
        kept.append(bool((room[given.x.numel() :] == 7).all()) and not bool((room[: given.x.numel()] == 7).any()))
    return all(kept)


if __name__ == "__main__":
    print(json.dumps({"compared": compared(), "extremes": extremes(), "unwritten": unwritten()}))
