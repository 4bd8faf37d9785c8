"""SE's functions as plugins of TensorRT whose kernels lie compiled in the plan: `SEGate`, `SEScale`, `SEScaleAddRelu`.

They are "quickly deployable" plugins, compiled ahead of time: a plan with them runs where there is neither Python nor
Triton. TensorRT's parser takes them for the functions of the same names that `export.outline` makes, if they are
registered before it parses.

Whoever runs such plans must know that TensorRT 11.1 and later keep a CUDA module for ever each time a context with such
a plugin changes its input's shape (NVIDIA/TensorRT #4849): have one context for each batch size, and never change its
shape. Whoever changes these plugins must know that all tactics of one must take equally many numbers: on Blackwell,
TensorRT 10.14 passes to each as many as to another (pytorch/TensorRT).
"""

# without `from __future__ import annotations`: TensorRT reads the annotations, and refuses strings

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import tensorrt as trt
import tensorrt.plugin as trtp
import triton
from tensorrt.plugin import AutoTuneCombination, KernelLaunchParams, SymIntExprs, TensorDesc

from export.errors import ExportError
from export.tensorrt import kernels, ptx, tactics
from export.tensorrt.tactics import Variant

NAMESPACE = "sesame"


@functools.cache
def register(capability: tuple[int, int]) -> None:
    """Have this process's builders know the plugins, for GPUs of that compute capability; (8, 0): for any since.

    To be called before a parser parses; once more does nothing. The plugins are registered here and now, not lazily: a
    parser looks in the registry alone. Raises ExportError if they are registered for another capability already, as the
    registry forgets nothing.
    """
    if hasattr(trtp.op, NAMESPACE):
        raise ExportError(
            "SE's plugins are registered for another GPU already: build this plan in a process of its own"
        )
    _register_gate(capability)
    _register_scale(capability)
    _register_scale_add_relu(capability)


def fingerprint() -> str:
    """SHA-256 of all that the kernels depend on, besides a GPU and TensorRT: for the key by which plans are kept."""
    digest = hashlib.sha256(triton.__version__.encode())
    for file in (kernels.__file__, ptx.__file__, tactics.__file__, __file__):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def _register_gate(capability: tuple[int, int]) -> None:
    name = f"{NAMESPACE}::SEGate"

    @trtp.register(name)
    def _(x: TensorDesc, w1: TensorDesc, b1: TensorDesc, w2: TensorDesc, b2: TensorDesc) -> TensorDesc:
        return trtp.from_shape_expr((x.shape_expr[0], x.shape_expr[1], 1, 1), x.dtype)

    @trtp.autotune(name)
    def _(
        x: TensorDesc, w1: TensorDesc, b1: TensorDesc, w2: TensorDesc, b2: TensorDesc, outputs: tuple[TensorDesc]
    ) -> list[AutoTuneCombination]:
        return _choices(x, 6, [0], tactics.GATE)

    @trtp.aot_impl(name)
    def _(
        x: TensorDesc, w1: TensorDesc, b1: TensorDesc, w2: TensorDesc, b2: TensorDesc,
        outputs: tuple[TensorDesc], tactic: int,
    ) -> tuple[str, str, KernelLaunchParams, SymIntExprs]:  # fmt: skip
        channels, pixels, last = _map(x)
        variant = tactics.gate(channels, int(w1.shape[0]), pixels, last, tactic)
        made = _compiled(variant, x.dtype, 5, 0, capability)
        return made.name, made.ptx, _launch(made, x.shape_expr[0]), SymIntExprs(0)


def _register_scale(capability: tuple[int, int]) -> None:
    name = f"{NAMESPACE}::SEScale"

    @trtp.register(name)
    def _(x: TensorDesc, gate: TensorDesc) -> TensorDesc:
        return x.like()

    @trtp.autotune(name)
    def _(x: TensorDesc, gate: TensorDesc, outputs: tuple[TensorDesc]) -> list[AutoTuneCombination]:
        return _choices(x, 3, [0, 2], tactics.SCALE)

    @trtp.aot_impl(name)
    def _(
        x: TensorDesc, gate: TensorDesc, outputs: tuple[TensorDesc], tactic: int
    ) -> tuple[str, str, KernelLaunchParams, SymIntExprs]:
        return _elementwise(tactics.scale(*_map(x), tactic), x, 2, capability)


def _register_scale_add_relu(capability: tuple[int, int]) -> None:
    name = f"{NAMESPACE}::SEScaleAddRelu"

    @trtp.register(name)
    def _(x: TensorDesc, gate: TensorDesc, residual: TensorDesc) -> TensorDesc:
        return x.like()

    @trtp.autotune(name)
    def _(
        x: TensorDesc, gate: TensorDesc, residual: TensorDesc, outputs: tuple[TensorDesc]
    ) -> list[AutoTuneCombination]:
        return _choices(x, 4, [0, 2, 3], tactics.SCALE)

    @trtp.aot_impl(name)
    def _(
        x: TensorDesc, gate: TensorDesc, residual: TensorDesc, outputs: tuple[TensorDesc], tactic: int
    ) -> tuple[str, str, KernelLaunchParams, SymIntExprs]:
        return _elementwise(tactics.scale_add_relu(*_map(x), tactic), x, 3, capability)


def _choices(x: TensorDesc, tensors: int, maps: Sequence[int], known: Sequence[int]) -> list[AutoTuneCombination]:
    """All tensors of one type, and all maps in one format; the others, gates and weights, as they lie.

    HWC8 is for 16 bits, and pads channels to eights, which the kernels do not know of.
    """

    def choice(types: str, layout: str) -> AutoTuneCombination:
        layouts = [layout if at in maps else "LINEAR" for at in range(tensors)]
        return AutoTuneCombination(", ".join([types] * tensors), ", ".join(layouts), list(known))

    linear = choice("FP32|FP16|BF16", "LINEAR")
    return [choice("FP16|BF16", "HWC8"), linear] if x.shape[1] > 0 and x.shape[1] % 8 == 0 else [linear]


def _map(x: TensorDesc) -> tuple[int, int, bool]:
    """Channels, pixels, and whether channels lie last. Raises ExportError if only a run will tell."""
    channels, height, width = (int(x.shape[at]) for at in (1, 2, 3))
    if min(channels, height, width) < 1:
        raise ExportError("SE's kernels need maps whose channels, height and width are fixed; only batches may vary")
    return channels, height * width, x.format == trt.TensorFormat.HWC8


def _elementwise(
    variant: Variant, x: TensorDesc, inputs: int, capability: tuple[int, int]
) -> tuple[str, str, KernelLaunchParams, SymIntExprs]:
    made = _compiled(variant, x.dtype, inputs, 1, capability)
    programs = trtp.cdiv(x.shape_expr.numel(), variant.elements)
    return made.name, made.ptx, _launch(made, programs), SymIntExprs.from_tuple((x.shape_expr[0],))


def _compiled(
    variant: Variant, dtype: trt.DataType, inputs: int, numbers: int, capability: tuple[int, int]
) -> ptx.Compiled:
    """With arguments in TensorRT's order: inputs, numbers, the output."""
    pointer = {trt.DataType.FLOAT: "*fp32", trt.DataType.HALF: "*fp16", trt.DataType.BF16: "*bf16"}[dtype]
    arguments = [*[pointer] * inputs, *["i32"] * numbers, pointer]
    return ptx.compile_kernel(variant.kernel, arguments, variant.constants, capability, variant.warps)


def _launch(made: ptx.Compiled, programs: trtp.ShapeExpr) -> KernelLaunchParams:
    return KernelLaunchParams(grid_x=programs, block_x=made.threads, shared_mem=made.shared_bytes)
