"""Descriptors: which sockets, pipes and memfds this process has open, for tests that nothing is left open."""

import gc
import os
from pathlib import Path

_OPEN = Path("/proc/self/fd")
_KINDS = ("socket:", "pipe:", "/memfd:")  # loops and libraries open other files when they like


gc.freeze()  # what is imported stays: to look through all of it would take a tenth of a second each time


def open_files() -> set[str]:
    """The number and name of each."""
    gc.collect()
    found = set()
    for path in _OPEN.iterdir():
        try:
            name = str(path.readlink())
        except FileNotFoundError:  # the one that listed them
            continue
        if name.startswith(_KINDS):
            found.add(f"{path.name} {name}")
    return found


def opened_since(before: set[str]) -> set[str]:
    """What is open and was not. What a loop closes meanwhile of an earlier test does not count."""
    return open_files() - before


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
