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
_LOOKS = 5
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

    def __init__(self, resident_bytes: Callable[[], int] | None = None) -> None:
        self._resident_bytes = resident_bytes or _resident_bytes
        self._least_bytes = self._last_bytes = self._resident_bytes()
        self._looks = 0  # since the last trim

    def look(self) -> bool:
        """To be called once a second, in a thread: a trim may take a tenth of a second. Whether it trimmed.

        It trims at most every fifth time, only where more memory is resident than at the best time, and not while that
        still changes: every allocation waits for a trim, and a flood is the wrong time to make it wait.
        """
        resident_bytes = self._resident_bytes()
        settled = abs(resident_bytes - self._last_bytes) < _NOTABLE_BYTES
        self._last_bytes = resident_bytes
        self._looks += 1
        if not settled or self._looks < _LOOKS or resident_bytes < self._least_bytes + _NOTABLE_BYTES:
            self._least_bytes = min(self._least_bytes, resident_bytes)
            return False
        gc.collect()
        if malloc_trim := _of_glibc("malloc_trim"):
            malloc_trim(0)
        self._looks = 0
        self._last_bytes = self._resident_bytes()
        return True


def _resident_bytes() -> int:
    """0 where Linux does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * mmap.PAGESIZE
    except OSError:
        return 0


def _of_glibc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
