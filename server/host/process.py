"""Process: what this process needs of the system: an event loop, enough open files, and freed memory given back."""

import asyncio
import ctypes
import gc
import logging
import mmap
import sys
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

_OWN_FILES = 512  # bundles, log, engines, what runtimes open
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
_LARGE_BYTES = 1 << 20
_SPARE_BYTES = 4 << 20
_NOTABLE_BYTES = 16 << 20
_CALLS = 5
_STATM = Path("/proc/self/statm")


def allow_connections(most: int) -> None:
    """Raise the limit of open files, so that REST and gRPC may have so many connections each; warn where that fails."""
    if sys.platform == "win32":
        return
    import resource

    needed = 2 * most + _OWN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard) or soft >= needed:
        allowed = needed
    else:
        allowed = min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        log.warning(
            "only %d files may be open, and %d connections need %d: raise the limit (ulimit -n, LimitNOFILE), or lower "
            "--max-connections",
            allowed,
            most,
            needed,
        )


def event_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the event loop of a serving process."""
    try:
        import uvloop
    except ImportError:  # not on Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def give_memory_back() -> None:
    """Have glibc give blocks above 1 MiB back to the system when they are freed, so that many uploads leave nothing.

    Smaller ones stay with it until 4 MiB are free at the end of a thread's heap: decoding a photo needs less than that,
    and met 120 fresh pages each time with a limit of 1 MiB, which cost a fifth of the decoding. Without this call glibc
    raises both limits while large blocks come and go. With another C library nothing is done.
    """
    if mallopt := _of_glibc("mallopt"):
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, _SPARE_BYTES)


def freeze_objects() -> None:
    """Have the garbage collector ignore all objects that exist now: those of a server that is ready stay."""
    gc.collect()
    gc.freeze()


class Trimmer:
    """Gives back the memory that is left after many requests.

    That is objects in cycles, which nothing collects while no requests come, and free memory between small blocks,
    which glibc keeps.
    """

    def __init__(self, resident_bytes: Callable[[], int] | None = None) -> None:
        self._resident_bytes = resident_bytes or _resident_bytes
        self._least_bytes = self._last_bytes = self._resident_bytes()
        self._calls = 0  # since the last trim

    def trim_when_settled(self) -> bool:
        """Returns whether it trimmed. Call it once a second, in a thread: a trim takes a tenth of a second after many
        requests, and half a millisecond where there is nothing to give back.

        It trims at most every fifth time, only where clearly more memory is resident than at the lowest point, and not
        while that still changes: allocations wait during a trim, and under load they should not.
        """
        resident_bytes = self._resident_bytes()
        settled = abs(resident_bytes - self._last_bytes) < _NOTABLE_BYTES
        self._last_bytes = resident_bytes
        self._calls += 1
        if not settled or self._calls < _CALLS or resident_bytes < self._least_bytes + _NOTABLE_BYTES:
            self._least_bytes = min(self._least_bytes, resident_bytes)
            return False
        gc.collect()
        if malloc_trim := _of_glibc("malloc_trim"):
            malloc_trim(0)
        self._calls = 0
        self._last_bytes = self._resident_bytes()
        return True


def _resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 where the system is not Linux."""
    try:
        return int(_STATM.read_text().split()[1]) * mmap.PAGESIZE
    except OSError:
        return 0


def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function of the C library; None where it has none of that name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
