"""Descriptors: which sockets, pipes and memfds this process has open, for tests that nothing is left open."""

import gc
import os
from pathlib import Path

_OPEN = Path("/proc/self/fd")
_KINDS = ("socket:", "pipe:", "/memfd:")  # loops and libraries open other files when they like


def open_files() -> set[str]:
    """The number and name of each. What exists now is not collected any more: `opened_since` would look through all
    that is imported, which takes a tenth of a second, and could close what is listed here.
    """
    gc.freeze()
    return _listed()


def opened_since(before: set[str]) -> set[str]:
    """What is open and was not, after what the test left in cycles is collected. What a loop closes meanwhile of an
    earlier test does not count.
    """
    gc.collect()
    return _listed() - before


def how_many_open() -> int:
    """How many are open, after what came since `open_files` and is left in cycles is collected."""
    return len(opened_since(set()))


def _listed() -> set[str]:
    found = set()
    for path in _OPEN.iterdir():
        try:
            name = str(path.readlink())
        except FileNotFoundError:  # the one that listed them
            continue
        if name.startswith(_KINDS):
            found.add(f"{path.name} {name}")
    return found


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
