"""Process: what this process asks of the system: enough open files, and a C library that gives freed memory back."""

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
_NOTABLE_BYTES = 16 << 20
_STATM = Path("/proc/self/statm")


def allow_connections(most: int) -> None:
    """Raise the limit of open files, so that each face may have so many connections; warns where it stays too low."""
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


def give_memory_back() -> None:
    """Have pieces above 1 MiB go back to the system when they are freed, so that a flood of uploads leaves nothing.

    By itself glibc raises this limit to 32 MiB as large pieces come and go. Where the C library is another, nothing is
    done.
    """
    if mallopt := _of_glibc("mallopt"):
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, _LARGE_BYTES)


def expect_to_stay() -> None:
    """Tell the garbage collector that all there is now will stay, so that it need not look at it again."""
    gc.collect()
    gc.freeze()


class Trimmer:
    """Gives back what a flood of requests leaves: objects in cycles, since a server without requests has no occasion to
    collect them, and free memory between small pieces, which glibc keeps by itself.
    """

    def __init__(self) -> None:
        self._resident_bytes = 0

    def look(self) -> bool:
        """Trim where resident memory is not what it was after the last time; whether it was so. Slow: for a thread."""
        if abs(_resident_bytes() - self._resident_bytes) < _NOTABLE_BYTES:
            return False
        gc.collect()
        if malloc_trim := _of_glibc("malloc_trim"):
            malloc_trim(0)
        self._resident_bytes = _resident_bytes()
        return True


def _resident_bytes() -> int:
    """0 where Linux does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * mmap.PAGESIZE
    except OSError:
        return 0


def _of_glibc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
