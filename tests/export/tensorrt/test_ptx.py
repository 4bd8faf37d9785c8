"""Kernels compile to PTX that TensorRT can launch: only its arguments, wide loads, and no spills."""

import dataclasses
import re
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import triton
import triton.language as tl
from triton.backends.nvidia.compiler import get_ptxas

from export.errors import ExportError
from export.tensorrt import ptx, tactics
from export.tensorrt.ptx import Compiled, compile_kernel
from export.tensorrt.tactics import KernelVariant

STAGES = [(256, 16, 3136), (512, 32, 784), (1024, 64, 196), (2048, 128, 49), (2048, 128, 1), (24, 3, 49)]
"""Channels, squeezed and pixels: of SE-ResNet-50, with the pool left to TensorRT, and of a small network."""
CAPABILITIES = [(8, 0), (9, 0), (10, 0), (12, 0)]

Arguments = list[str]
MAKERS: dict[str, tuple[Callable[[int, int, int, bool, int], KernelVariant], int, int]] = {
    "SEGate": (tactics.gate, 5, 0),
    "SEScale": (lambda c, s, p, last, tactic: tactics.scale(c, p, last, tactic), 2, 1),
    "SEScaleAddRelu": (lambda c, s, p, last, tactic: tactics.scale_add_relu(c, p, last, tactic), 3, 1),
}
"""Each kernel with the number of tensors and of integers that it reads."""


def compiled(
    name: str, stage: tuple[int, int, int], last: bool, tactic: int, precision: str, capability: tuple[int, int]
) -> tuple[Compiled, Arguments]:
    make, inputs, numbers = MAKERS[name]
    variant = make(*stage, last, tactic)
    arguments = [*[f"*{precision}"] * inputs, *["i32"] * numbers, f"*{precision}"]
    return compile_kernel(variant.kernel, arguments, variant.constants, capability, variant.warps), arguments


def parameters(made: Compiled) -> list[str]:
    (told,) = re.findall(r"\.visible \.entry (\w+)\((.*?)\n\)", made.ptx, re.DOTALL)
    assert told[0] == made.name
    return [{".u64": "pointer", ".u32": "i32"}[line.split()[1]] for line in told[1].strip().split(",\n")]


def assembled(made: Compiled, capability: tuple[int, int]) -> tuple[int, int]:
    """Bytes spilled and registers per thread, by NVIDIA's assembler."""
    number = capability[0] * 10 + capability[1]
    target = f"sm_{number}{'a' if number >= 90 else ''}"
    command = [get_ptxas(number).path, "-v", f"--gpu-name={target}", "-o", "/dev/null", "-"]
    done = subprocess.run(command, input=made.ptx, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    (spilt,) = re.findall(r"(\d+) bytes spill stores", done.stderr)
    (registers,) = re.findall(r"Used (\d+) registers", done.stderr)
    return int(spilt), int(registers)


@pytest.mark.parametrize("name", MAKERS)
def test_every_stage_layout_precision_and_tactic_is_compiled_for_every_gpu(name: str) -> None:
    formats = [("fp16", True), ("bf16", True), ("fp32", False), ("fp16", False), ("bf16", False)]
    every = [*product(STAGES[3:], formats, (1, 2), [(9, 0)]), *product(STAGES[:3], formats[:1], (1, 2), [(9, 0)])]
    every += [*product(STAGES[3:4], [formats[1], formats[2]], (1,), CAPABILITIES)]
    names = set()
    for stage, (precision, last), tactic, capability in every:
        made, arguments = compiled(name, stage, last, tactic, precision, capability)
        assert parameters(made) == ["pointer" if row.startswith("*") else row for row in arguments]
        assert made.threads in (128, 256, 512) and made.shared_bytes <= 48 * 1024
        assert re.findall(r"\.version (\S+)", made.ptx) == ["8.8"]
        number = capability[0] * 10 + capability[1]
        assert re.findall(r"\.target (\S+)", made.ptx) == [f"sm_{number}{'a' if number >= 90 else ''}"]
        assert str(Path(ptx.__file__).parent) not in made.ptx
        names.add((made.name, capability))
    assert len(names) == len({(row[0], row[1], row[2], row[3]) for row in every})


@pytest.mark.parametrize(("name", "capability"), [*product(MAKERS, [(9, 0)]), ("SEGate", (8, 0)), ("SEGate", (12, 0))])
def test_no_registers_are_spilt_and_a_program_fits_a_multiprocessor(name: str, capability: tuple[int, int]) -> None:
    hardest = [
        ((2048, 128, 49), False, 2, "fp32"),
        ((2048, 128, 49), True, 1, "fp16"),
        ((256, 16, 3136), True, 2, "bf16"),
    ]
    for stage, last, tactic, precision in hardest:
        made, _ = compiled(name, stage, last, tactic, precision, capability)
        spilt, registers = assembled(made, capability)
        assert spilt == 0
        assert registers * made.threads <= 65536  # CUDA C++ guide, compute capabilities


def test_spilt_registers_would_be_seen() -> None:
    made, _ = compiled("SEGate", (2048, 128, 49), True, 1, "fp16", (9, 0))
    starved = made.ptx.replace(f".reqntid {made.threads}", f".reqntid {made.threads}\n.maxnreg 24")
    assert assembled(dataclasses.replace(made, ptx=starved), (9, 0))[0] > 0


@pytest.mark.parametrize(
    ("capability", "version"), [((7, 5), "8.8"), ((8, 9), "8.8"), ((10, 3), "8.8"), ((11, 0), "9.0"), ((12, 1), "8.8")]
)
def test_other_gpus_get_ptx_that_their_drivers_take(capability: tuple[int, int], version: str) -> None:
    made, _ = compiled("SEScaleAddRelu", (24, 3, 49), True, 1, "bf16", capability)
    assert re.findall(r"\.version (\S+)", made.ptx) == [version]


@pytest.mark.parametrize("capability", [(7, 0), (13, 0)])
def test_gpus_that_no_kernel_is_for_are_refused(capability: tuple[int, int]) -> None:
    told = rf"do not support GPUs of compute capability {capability[0]}\.{capability[1]}"
    with pytest.raises(ExportError, match=told):
        compiled("SEScale", (24, 3, 49), True, 1, "fp16", capability)


@pytest.mark.parametrize(("precision", "last"), [("fp16", True), ("bf16", True), ("fp32", False), ("fp16", False)])
def test_maps_move_16_bytes_at_a_time(precision: str, last: bool) -> None:
    """The compiler knows that TensorRT's pointers are aligned; otherwise it would load single elements."""
    made, arguments = compiled("SEScaleAddRelu", (512, 32, 784), last, 1, precision, (9, 0))
    wide = re.findall(r"(ld|st)\.global\.v4\.b32", made.ptx)
    maps = 2 * (1024 // 128) // (4 if precision == "fp32" else 8)
    assert wide.count("st") == maps // 2
    assert wide.count("ld") >= maps
    variant = tactics.scale_add_relu(512, 784, last, 1)
    unaligned = triton.compile(
        triton.compiler.ASTSource(
            variant.kernel,
            dict(zip(variant.kernel.arg_names, [*arguments, *["constexpr"] * 4], strict=True)),
            dict(variant.constants),
        ),
        target=triton.backends.compiler.GPUTarget("cuda", 90, 32),
        options={"enable_fp_fusion": True},
    )
    assert ".v4" not in unaligned.asm["ptx"]


def test_offsets_are_64_bits_wide() -> None:
    made, _ = compiled("SEScaleAddRelu", (256, 16, 3136), True, 1, "fp16", (9, 0))
    assert re.search(r"mul\.wide\.u32 \t%rd\d+, %r\d+, 1024;", made.ptx)


@triton.jit
def doubled(x, n, y, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, 2 * tl.load(x + at, mask=at < n), mask=at < n)


@triton.jit
def described(x, n, y, BLOCK: tl.constexpr):
    """A kernel that writes a descriptor to scratch memory."""
    rows = tl.make_tensor_descriptor(x, shape=[n, BLOCK], strides=[BLOCK, 1], block_shape=[BLOCK, BLOCK])
    at = tl.arange(0, BLOCK)
    tl.store(y + at[:, None] * BLOCK + at[None, :], rows.load([0, 0]))


@triton.jit
def multiplied(x, n, y, BLOCK: tl.constexpr):
    """A kernel that moves its factors through shared memory."""
    at = tl.arange(0, BLOCK)[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    factor = tl.load(x + at, mask=at < n)
    tl.store(y + at, tl.dot(factor, tl.load(x + at + n)).to(tl.float16))


def test_a_kernel_that_reads_what_tensorrt_does_not_pass_is_refused() -> None:
    made = compile_kernel(doubled, ["*fp32", "i32", "*fp32"], {"BLOCK": 128}, (9, 0), 4)
    assert parameters(made) == ["pointer", "i32", "pointer"]
    with pytest.raises(ExportError, match="reads doubled_param_2, an argument that TensorRT does not pass"):
        ptx.keep_own_arguments(made.ptx, 2, "doubled")
    with pytest.raises(ExportError, match="no entry"):
        ptx.keep_own_arguments("", 2, "doubled")


@pytest.mark.parametrize(
    ("kernel", "block", "fault"),
    [(described, 32, "needs scratch memory"), (multiplied, 128, r"needs \d+ bytes of shared memory: more than 48 KiB")],
)
def test_a_kernel_that_needs_what_tensorrt_does_not_give_is_refused(kernel: Any, block: int, fault: str) -> None:
    with pytest.raises(ExportError, match=fault):
        compile_kernel(kernel, ["*fp16", "i32", "*fp16"], {"BLOCK": block}, (9, 0), 4)
