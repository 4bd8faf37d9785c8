"""From a kernel in Triton to PTX that TensorRT can launch: its own arguments alone, for one compute capability."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from export.errors import ExportError

PTX_VERSION = 88
"""8.8 is CUDA 12.9's: drivers from r575 take it. Left alone, Triton writes the newest that its own assembler knows."""
_NEEDED = {(11, 0): 90}  # is not in PTX 8.8 under this number, at which LLVM would end the process
OLDEST, NEWEST = (7, 5), (12, 1)
"""Compute capabilities that are compiled for, T4 to DGX Spark: at one that LLVM does not know it ends the process."""

_ALIGNED = [["tt.divisibility", 16]]
_MAX_SHARED_BYTES = 48 * 1024  # what a launch may ask for without an attribute that TensorRT does not set
_ENTRY = re.compile(r"(\.visible \.entry )(\w+)\((.*?)\n\)", re.DOTALL)


@dataclass(frozen=True)
class Compiled:
    """A kernel by its name in `ptx`, and how many threads and bytes of shared memory each of its programs has."""

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
    """The kernel for these constants; `arguments` are the types of all others in their order, `*fp16` or `i32`.

    Pointers are promised to be multiples of 16 bytes, as TensorRT's are; without that, loads are of single elements.
    PTX for 9.0 and later is `sm_90a` and the like: for that very capability, as plans are. PTX for (8, 0) is for all
    since.

    Raises ExportError where the kernel needs what TensorRT cannot give, scratch memory, clusters, much shared memory,
    and for compute capabilities other than OLDEST to NEWEST.
    """
    if not OLDEST <= capability <= NEWEST:
        raise ExportError(f"SE's kernels are not for GPUs of compute capability {capability[0]}.{capability[1]}")
    names = [name for name in kernel.arg_names if name not in constants]
    types = dict(zip(names, arguments, strict=True)) | dict.fromkeys(constants, "constexpr")
    signature = {name: types[name] for name in kernel.arg_names}
    aligned = {(at,): _ALIGNED for at, kind in enumerate(signature.values()) if kind.startswith("*")}
    version = _NEEDED.get(capability, PTX_VERSION)
    made = triton.compile(
        ASTSource(kernel, signature, dict(constants), aligned),
        target=GPUTarget("cuda", capability[0] * 10 + capability[1], 32),
        options={"num_warps": warps, "ptx_version": version, "enable_fp_fusion": True},
    )
    _refuse_needs(made.metadata)
    told = "_".join((*(f"{value:d}" for value in constants.values()), arguments[0].lstrip("*"), f"{warps}w"))
    name = f"{kernel.fn.__name__}_{told}"
    ptx = own_arguments(_without_lines(made.asm["ptx"]), len(arguments), name)
    return Compiled(name, ptx, warps * 32, made.metadata.shared)


def _refuse_needs(kernel: Any) -> None:
    if kernel.global_scratch_size or kernel.profile_scratch_size:
        raise ExportError(f"kernel {kernel.name} needs scratch memory, which TensorRT gives to no plugin's kernel")
    if kernel.num_ctas != 1:
        raise ExportError(f"kernel {kernel.name} needs clusters of programs, which TensorRT does not launch")
    if kernel.shared > _MAX_SHARED_BYTES:
        raise ExportError(f"kernel {kernel.name} needs {kernel.shared} bytes of shared memory: more than 48 KiB")


def own_arguments(ptx: str, count: int, name: str) -> str:
    """The PTX whose kernel, now of that name, has its first `count` parameters only.

    Triton appends pointers to scratch memory, which TensorRT does not pass: a driver would read past the arguments that
    it is given. Raises ExportError if one of them is read. Names of their own tell variants apart in profiles.
    """
    entry = _ENTRY.search(ptx)
    if entry is None:
        raise ExportError("this is no PTX of a kernel: it has no entry")
    parameters = [line.strip() for line in entry[3].split(",\n")]
    for parameter in parameters[count:]:
        symbol = parameter.split()[-1]
        if len(re.findall(rf"\b{symbol}\b", ptx)) != 1:
            raise ExportError(f"kernel {entry[2]} reads {symbol}, an argument that TensorRT does not pass to it")
    kept = ",\n\t".join(parameters[:count])
    return f"{ptx[: entry.start()]}{entry[1]}{name}(\n\t{kept}\n){ptx[entry.end() :]}"


def _without_lines(ptx: str) -> str:
    """Without the places in our source, whose paths would differ by machine."""
    code = ptx.split("\n\t.section\t.debug", 1)[0]
    return re.sub(r"^\s*(\.loc|\.file)\s.*$", "", code, flags=re.MULTILINE).rstrip() + "\n"
