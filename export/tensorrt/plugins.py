"""Plugins: SE's functions `SEGate`, `SEScale` and `SEScaleAddRelu` in TensorRT, their kernels compiled into the plan.

They are "quickly deployable" plugins compiled ahead of time: a plan with them runs without Python and Triton. If they
are registered before TensorRT's parser runs, it uses them for the functions of the same names that
`export.graphs.se_functions` makes.

Running such plans: TensorRT 11.1 and later leak a CUDA module each time a context with such a plugin changes the shape
of its input (NVIDIA/TensorRT #4849). Use one context for each batch size, and never change its shape.

Changing these plugins: all tactics of a plugin must take the same number of integer arguments. On Blackwell, TensorRT
10.14 passes to each tactic as many as to another (pytorch/TensorRT).
"""

# No `from __future__ import annotations` here: TensorRT reads the annotations, and rejects strings.

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import tensorrt
import tensorrt.plugin
import triton
from tensorrt.plugin import AutoTuneCombination, KernelLaunchParams, SymIntExprs, TensorDesc

from export.errors import ExportError
from export.tensorrt import kernels, ptx, tactics
from export.tensorrt.tactics import KernelVariant

NAMESPACE = "sesame"


@functools.cache
def register(capability: tuple[int, int]) -> None:
    """Register the plugins in this process, for GPUs of that compute capability; (8, 0) is for all later ones too.

    Call it before a parser runs; a second call does nothing. The plugins are registered at once, not lazily, as a
    parser looks only in the registry. Raises ExportError if they are registered for another capability already: the
    registry has no way to remove them.
    """
    if hasattr(tensorrt.plugin.op, NAMESPACE):
        raise ExportError(
            "SE's plugins are registered for another kind of GPU already: build this plan in another process"
        )
    _register_gate(capability)
    _register_scale(capability)
    _register_scale_add_relu(capability)


def fingerprint() -> str:
    """SHA-256 of everything that the kernels depend on besides the GPU and TensorRT. It is part of a plan's key."""
    digest = hashlib.sha256(triton.__version__.encode())
    for file in (kernels.__file__, ptx.__file__, tactics.__file__, __file__):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def _register_gate(capability: tuple[int, int]) -> None:
    name = f"{NAMESPACE}::SEGate"

    @tensorrt.plugin.register(name)
    def _(x: TensorDesc, w1: TensorDesc, b1: TensorDesc, w2: TensorDesc, b2: TensorDesc) -> TensorDesc:
        return tensorrt.plugin.from_shape_expr((x.shape_expr[0], x.shape_expr[1], 1, 1), x.dtype)

    @tensorrt.plugin.autotune(name)
    def _(
        x: TensorDesc, w1: TensorDesc, b1: TensorDesc, w2: TensorDesc, b2: TensorDesc, outputs: tuple[TensorDesc]
    ) -> list[AutoTuneCombination]:
        return _combinations(x, 6, [0], tactics.GATE)

    @tensorrt.plugin.aot_impl(name)
    def _(
        x: TensorDesc, w1: TensorDesc, b1: TensorDesc, w2: TensorDesc, b2: TensorDesc,
        outputs: tuple[TensorDesc], tactic: int,
    ) -> tuple[str, str, KernelLaunchParams, SymIntExprs]:  # fmt: skip
        channels, pixels, last = _map(x)
        variant = tactics.gate(channels, int(w1.shape[0]), pixels, last, tactic)
        compiled = _compile(variant, x.dtype, 5, 0, capability)
        return compiled.name, compiled.ptx, _launch(compiled, x.shape_expr[0]), SymIntExprs(0)


def _register_scale(capability: tuple[int, int]) -> None:
    name = f"{NAMESPACE}::SEScale"

    @tensorrt.plugin.register(name)
    def _(x: TensorDesc, gate: TensorDesc) -> TensorDesc:
        return x.like()

    @tensorrt.plugin.autotune(name)
    def _(x: TensorDesc, gate: TensorDesc, outputs: tuple[TensorDesc]) -> list[AutoTuneCombination]:
        return _combinations(x, 3, [0, 2], tactics.SCALE)

    @tensorrt.plugin.aot_impl(name)
    def _(
        x: TensorDesc, gate: TensorDesc, outputs: tuple[TensorDesc], tactic: int
    ) -> tuple[str, str, KernelLaunchParams, SymIntExprs]:
        return _compile_elementwise(tactics.scale(*_map(x), tactic), x, 2, capability)


def _register_scale_add_relu(capability: tuple[int, int]) -> None:
    name = f"{NAMESPACE}::SEScaleAddRelu"

    @tensorrt.plugin.register(name)
    def _(x: TensorDesc, gate: TensorDesc, residual: TensorDesc) -> TensorDesc:
        return x.like()

    @tensorrt.plugin.autotune(name)
    def _(
        x: TensorDesc, gate: TensorDesc, residual: TensorDesc, outputs: tuple[TensorDesc]
    ) -> list[AutoTuneCombination]:
        return _combinations(x, 4, [0, 2, 3], tactics.SCALE)

    @tensorrt.plugin.aot_impl(name)
    def _(
        x: TensorDesc, gate: TensorDesc, residual: TensorDesc, outputs: tuple[TensorDesc], tactic: int
    ) -> tuple[str, str, KernelLaunchParams, SymIntExprs]:
        return _compile_elementwise(tactics.scale_add_relu(*_map(x), tactic), x, 3, capability)


def _combinations(x: TensorDesc, tensors: int, maps: Sequence[int], known: Sequence[int]) -> list[AutoTuneCombination]:
    """The supported types and formats: one type for all tensors, one format for all maps, LINEAR for gates and weights.

    HWC8 is for 16-bit types. It pads channels to a multiple of 8, which the kernels do not support.
    """

    def combination(types: str, layout: str) -> AutoTuneCombination:
        layouts = [layout if at in maps else "LINEAR" for at in range(tensors)]
        return AutoTuneCombination(", ".join([types] * tensors), ", ".join(layouts), list(known))

    linear = combination("FP32|FP16|BF16", "LINEAR")
    return [combination("FP16|BF16", "HWC8"), linear] if x.shape[1] > 0 and x.shape[1] % 8 == 0 else [linear]


def _map(x: TensorDesc) -> tuple[int, int, bool]:
    """Channels, pixels, and whether channels are last. Raises ExportError if these are only known at run time."""
    channels, height, width = (int(x.shape[at]) for at in (1, 2, 3))
    if min(channels, height, width) < 1:
        raise ExportError(
            "SE's kernels need maps of fixed channels, height and width; only the batch may vary: use --se native."
        )
    return channels, height * width, x.format == tensorrt.TensorFormat.HWC8


def _compile_elementwise(
    variant: KernelVariant, x: TensorDesc, inputs: int, capability: tuple[int, int]
) -> tuple[str, str, KernelLaunchParams, SymIntExprs]:
    compiled = _compile(variant, x.dtype, inputs, 1, capability)
    programs = tensorrt.plugin.cdiv(x.shape_expr.numel(), variant.elements)
    return compiled.name, compiled.ptx, _launch(compiled, programs), SymIntExprs.from_tuple((x.shape_expr[0],))


def _compile(
    variant: KernelVariant, dtype: tensorrt.DataType, inputs: int, integers: int, capability: tuple[int, int]
) -> ptx.Compiled:
    """The compiled kernel, with arguments in TensorRT's order: inputs, integers, the output."""
    pointer = {tensorrt.DataType.FLOAT: "*fp32", tensorrt.DataType.HALF: "*fp16", tensorrt.DataType.BF16: "*bf16"}[
        dtype
    ]
    arguments = [*[pointer] * inputs, *["i32"] * integers, pointer]
    return ptx.compile_kernel(variant.kernel, arguments, variant.constants, capability, variant.warps)


def _launch(compiled: ptx.Compiled, programs: tensorrt.plugin.ShapeExpr) -> KernelLaunchParams:
    return KernelLaunchParams(grid_x=programs, block_x=compiled.threads, shared_mem=compiled.shared_bytes)
