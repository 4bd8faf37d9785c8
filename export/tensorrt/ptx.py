"""PTX: compiles a Triton kernel to PTX that TensorRT can launch, for one compute capability."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from export.errors import ExportError

PTX_VERSION = 88
"""8.8 is the version of CUDA 12.9, which drivers from r575 accept. By default Triton writes the newest version that its
own assembler knows."""
_NEWER_VERSION = {(11, 0): 90}  # PTX 8.8 does not have this capability, and LLVM would end the process
OLDEST, NEWEST = (7, 5), (12, 1)
"""The supported compute capabilities, T4 to DGX Spark. LLVM ends the process at one that it does not know."""

_ALIGNED = [["tt.divisibility", 16]]
_MAX_SHARED_BYTES = 48 * 1024  # more needs a launch attribute that TensorRT does not set
_ENTRY = re.compile(r"(\.visible \.entry )(\w+)\((.*?)\n\)", re.DOTALL)


@dataclass(frozen=True)
class Compiled:
    """A kernel: its name in `ptx`, and the threads and bytes of shared memory of each of its programs."""

    name: str
    ptx: str
    threads: int
    shared_bytes: int


def compile_kernel(
    kernel: Any,
    arguments: Sequence[str],
    constants: Mapping[str, int],
    capability: tuple[int, int],
    warps: int,
) -> Compiled:
    """The kernel for these constants. `arguments` are the types of its other parameters in order, `*fp16` or `i32`.

    The compiler may assume that pointers are multiples of 16 bytes, as TensorRT's are; otherwise it would load single
    elements. PTX for 9.0 and later is for exactly that capability (`sm_90a`), as plans are; PTX for (8, 0) is for all
    later ones too.

    Raises ExportError where the kernel needs scratch memory, clusters or much shared memory, which TensorRT does not
    provide, and for compute capabilities outside OLDEST to NEWEST.
    """
    if not OLDEST <= capability <= NEWEST:
        raise ExportError(
            f"SE's kernels do not support GPUs of compute capability {capability[0]}.{capability[1]}: use --se native."
        )
    names = [name for name in kernel.arg_names if name not in constants]
    types = dict(zip(names, arguments, strict=True)) | dict.fromkeys(constants, "constexpr")
    signature = {name: types[name] for name in kernel.arg_names}
    aligned = {(at,): _ALIGNED for at, kind in enumerate(signature.values()) if kind.startswith("*")}
    version = _NEWER_VERSION.get(capability, PTX_VERSION)
    compiled = triton.compile(
        ASTSource(kernel, signature, dict(constants), aligned),
        target=GPUTarget("cuda", capability[0] * 10 + capability[1], 32),
        options={"num_warps": warps, "ptx_version": version, "enable_fp_fusion": True},
    )
    _require_launchable(compiled.metadata)
    variant = "_".join((*(f"{value:d}" for value in constants.values()), arguments[0].lstrip("*"), f"{warps}w"))
    name = f"{kernel.fn.__name__}_{variant}"
    ptx = keep_own_arguments(_strip_source_lines(compiled.asm["ptx"]), len(arguments), name)
    return Compiled(name, ptx, warps * 32, compiled.metadata.shared)


def _require_launchable(kernel: Any) -> None:
    if kernel.global_scratch_size or kernel.profile_scratch_size:
        raise ExportError(f"kernel {kernel.name} needs scratch memory, which TensorRT does not give to plugins")
    if kernel.num_ctas != 1:
        raise ExportError(f"kernel {kernel.name} needs clusters of programs, which TensorRT does not launch")
    if kernel.shared > _MAX_SHARED_BYTES:
        raise ExportError(f"kernel {kernel.name} needs {kernel.shared} bytes of shared memory: more than 48 KiB")


def keep_own_arguments(ptx: str, count: int, name: str) -> str:
    """The PTX with the kernel renamed to `name` and cut to its first `count` parameters.

    Triton appends pointers to scratch memory, which TensorRT does not pass: the driver would read past the arguments.
    Raises ExportError if the kernel uses one of them. Different names make variants distinguishable in profiles.
    """
    entry = _ENTRY.search(ptx)
    if entry is None:
        raise ExportError("this is not the PTX of a kernel: it has no entry")
    parameters = [line.strip() for line in entry[3].split(",\n")]
    for parameter in parameters[count:]:
        symbol = parameter.split()[-1]
        if len(re.findall(rf"\b{symbol}\b", ptx)) != 1:
            raise ExportError(f"kernel {entry[2]} reads {symbol}, an argument that TensorRT does not pass")
    kept = ",\n\t".join(parameters[:count])
    return f"{ptx[: entry.start()]}{entry[1]}{name}(\n\t{kept}\n){ptx[entry.end() :]}"


def _strip_source_lines(ptx: str) -> str:
    """Remove the references to source lines, whose paths differ between machines."""
    code = ptx.split("\n\t.section\t.debug", 1)[0]
    return re.sub(r"^\s*(\.loc|\.file)\s.*$", "", code, flags=re.MULTILINE).rstrip() + "\n"
