"""SE's kernels on tensors of PyTorch: on a GPU, or under TRITON_INTERPRET=1 on anything."""

import torch
import triton

from export.tensorrt import tactics
from export.tensorrt.tactics import KernelVariant


def gate(
    x: torch.Tensor, w1: torch.Tensor, b1: torch.Tensor, w2: torch.Tensor, b2: torch.Tensor, tactic: int = 1
) -> torch.Tensor:
    """(N, C, 1, 1) of x (N, C, H, W), contiguous or channels_last; w1 (S, C, 1, 1), w2 (C, S, 1, 1)."""
    images, channels, height, width = x.shape
    variant = tactics.gate(channels, len(w1), height * width, _last(x), tactic)
    result = torch.empty((images, channels, 1, 1), dtype=x.dtype, device=x.device)
    variant.kernel[(images,)](
        x, w1, b1, w2, b2, result, **variant.constants, num_warps=variant.warps, enable_fp_fusion=True
    )
    return result


def scale(x: torch.Tensor, gates: torch.Tensor, tactic: int = 1) -> torch.Tensor:
    """gates·x, in the layout of x."""
    variant = tactics.scale(x.shape[1], x.shape[2] * x.shape[3], _last(x), tactic)
    return _elementwise(variant, x, gates)


def scale_add_relu(x: torch.Tensor, gates: torch.Tensor, residual: torch.Tensor, tactic: int = 1) -> torch.Tensor:
    """relu(gates·x + residual), where both maps have one layout."""
    variant = tactics.scale_add_relu(x.shape[1], x.shape[2] * x.shape[3], _last(x), tactic)
    return _elementwise(variant, x, gates, residual)


def _elementwise(variant: KernelVariant, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
    result = torch.empty_like(x)
    programs = triton.cdiv(x.numel(), variant.elements)
    variant.kernel[(programs,)](
        x, *others, len(x), result, **variant.constants, num_warps=variant.warps, enable_fp_fusion=True
    )
    return result


def _last(x: torch.Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)
