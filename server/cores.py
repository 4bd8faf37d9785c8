"""Cores: how many processors this process may really use, and how decoding, engine and event loop share them."""

import os
import platform
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu")


def usable(root: Path = Path("/")) -> int:
    """The affinity mask, or a container's CPU quota (rounded up) where that is less. At least 1."""
    mask = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(root)
    return max(1, mask if quota is None else min(mask, -int(-quota // 1)))


def _quota(root: Path) -> float | None:
    """CPUs allowed by the control group, version 2 or 1; None where there is no limit."""
    try:
        quota, period = (root / _CGROUP_V2.relative_to("/")).read_text().split()
    except (OSError, ValueError):
        try:
            folder = root / _CGROUP_V1.relative_to("/")
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        except OSError:
            return None
    return None if quota in ("max", "-1") else int(quota) / int(period)


_TELLING = (
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
"""Instructions that make networks fast, as Linux names them: INT8 gains little without VNNI or dot products."""


def processor() -> str:
    """Its name."""
    return _told("model name") or platform.processor() or platform.machine()


def features() -> list[str]:
    """Those of its instructions that make networks fast; none where Linux does not tell."""
    known = (_told("flags") or _told("Features")).split()
    return [feature for feature in _TELLING if feature in known]


def saturates() -> bool:
    """Whether this CPU adds pairs of 8 bit products in 16 bits: an x86 without VNNI (see `bundle.overflow`).

    True for an x86 of which the system tells nothing, as on Windows and macOS.
    """
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return x86 and {"avx512_vnni", "avx_vnni"}.isdisjoint(features())


def _told(key: str) -> str:
    """What Linux tells of the first processor; "" elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")


_NICENESS = 10


def stand_back() -> None:
    """Let the calling thread, and those that it starts, run after the event loop's where all want the same core.

    On a machine full of work the loop then answers 99 of 100 who are refused within 5 to 8 ms instead of 8 to 62 ms,
    and the work loses nothing, since the loop needs little. Linux alone knows a niceness of threads.
    """
    if sys.platform == "linux":
        loop = os.getpriority(os.PRIO_PROCESS, os.getpid())  # the main thread's
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, loop + _NICENESS))


@dataclass(frozen=True)
class Shares:
    """Threads for decoding and for the CPU engine. Both may use every core: neither spins while it waits."""

    decode: int
    engine: int


def shares(decode_threads: int, engine_threads: int) -> Shares:
    """As wished; 0 is one thread per usable core."""
    cores = usable()
    return Shares(decode_threads or cores, engine_threads or cores)
