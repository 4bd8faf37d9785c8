"""Cores: how many cores this process may use, what they can do, and how decoding and the engine share them."""

import os
import platform
import sys
import threading
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu")


def usable(root: Path = Path("/")) -> int:
    """The affinity mask, or a container's CPU quota (rounded up) where that is less. At least 1."""
    mask = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(root)
    return max(1, mask if quota is None else min(mask, -int(-quota // 1)))


def _quota(root: Path) -> float | None:
    """The CPU quota of the control group, version 2 or 1, in cores; None where there is none."""
    try:
        quota, period = (root / _CGROUP_V2.relative_to("/")).read_text().split()
    except (OSError, ValueError):
        try:
            folder = root / _CGROUP_V1.relative_to("/")
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        except OSError:
            return None
    return None if quota in ("max", "-1") else int(quota) / int(period)


_FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimddp",
    "i8mm",
    "bf16",
)
"""Instruction sets that make networks fast, as Linux names them: INT8 gains little without VNNI or dot products."""


def processor() -> str:
    """The name of the CPU."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def features() -> list[str]:
    """The instruction sets of this CPU that make networks fast; none where the system is not Linux."""
    known = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return [feature for feature in _FEATURES if feature in known]


def saturates() -> bool:
    """Whether this CPU adds pairs of 8 bit products in 16 bits, which can overflow: an x86 without VNNI.

    See `bundle.overflow`. True for every x86 on Windows and macOS, which do not list the instruction sets.
    """
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return x86 and {"avx512_vnni", "avx_vnni"}.isdisjoint(features())


def _cpuinfo(key: str) -> str:
    """A field of the first processor in /proc/cpuinfo; "" where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")


class Niceness(IntEnum):
    """How far a thread stands back behind the event loop's.

    ENGINE: it lets go of Python's global lock while it works. POOL: it may hold the lock for milliseconds, as when it
    parses a message. If such a thread stands back far, work of other processes keeps it from the core, and the event
    loop waits for the lock.
    """

    ENGINE = 10
    POOL = 3


def lower_priority(niceness: Niceness) -> None:
    """Give the calling thread, and those that it starts, a lower priority than the event loop's thread.

    On a busy machine 99 of 100 rejections are then answered within 5 to 8 ms instead of 8 to 62 ms (measured). The work
    is not slower, since the loop needs little time. Only Linux has a niceness of threads.
    """
    if sys.platform == "linux":
        loop = os.getpriority(os.PRIO_PROCESS, os.getpid())  # the main thread's
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, loop + niceness))


@dataclass(frozen=True)
class Shares:
    """Threads for decoding and for the CPU engine. Both may use every core: neither spins while it waits."""

    decode: int
    engine: int


def shares(decode_threads: int, engine_threads: int) -> Shares:
    """The numbers of threads as set; 0 becomes one thread for each usable core."""
    cores = usable()
    return Shares(decode_threads or cores, engine_threads or cores)
