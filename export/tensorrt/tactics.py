"""Tactics: the constants and warps of each kernel for given maps. TensorRT times the tactics and picks one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import triton

from export.tensorrt import kernels

GATE = (1, 2)
"""Tactics of `gate`: 8 and 16 warps. Other numbers need more registers for large maps, or synchronise more slowly."""
SCALE = (1, 2)
"""Tactics of `scale` and `scale_add_relu`: programs of 1024 and of 2048 elements."""

_ELEMENTS_A_THREAD = 32  # float32 elements of a tile; with more, tile and sums exceed 255 registers


@dataclass(frozen=True)
class KernelVariant:
    """A kernel, its constants by name, the warps of a program, and the elements of the map that a program computes."""

    kernel: Any
    constants: Mapping[str, int]
    warps: int
    elements: int


def gate(channels: int, squeezed: int, pixels: int, channels_last: bool, tactic: int) -> KernelVariant:
    """`se_gate` for maps (N, channels, H, W) with H·W = pixels; one program computes one image."""
    warps = {1: 8, 2: 16}[tactic]
    all_channels = int(triton.next_power_of_2(channels))
    beside = max(1, warps * 32 * _ELEMENTS_A_THREAD // all_channels)
    constants = {
        "CHANNELS": channels,
        "SQUEEZED": squeezed,
        "PIXELS": pixels,
        "CHANNELS_LAST": int(channels_last),
        "ALL_CHANNELS": all_channels,
        "SOME_SQUEEZED": min(beside, int(triton.next_power_of_2(squeezed))),
        "SOME_PIXELS": min(beside, int(triton.next_power_of_2(pixels))),
    }
    return KernelVariant(kernels.se_gate, constants, warps, channels * pixels)


def scale(channels: int, pixels: int, channels_last: bool, tactic: int) -> KernelVariant:
    """`se_scale` for such maps; programs compute equal parts of flat memory."""
    block = {1: 1024, 2: 2048}[tactic]
    constants = {"CHANNELS": channels, "PIXELS": pixels, "CHANNELS_LAST": int(channels_last), "BLOCK": block}
    return KernelVariant(kernels.se_scale, constants, 4, block)


def scale_add_relu(channels: int, pixels: int, channels_last: bool, tactic: int) -> KernelVariant:
    """`se_scale_add_relu`, with the same constants as `se_scale`."""
    same = scale(channels, pixels, channels_last, tactic)
    return KernelVariant(kernels.se_scale_add_relu, same.constants, same.warps, same.elements)
