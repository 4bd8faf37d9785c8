"""GPU nodes: how many NVIDIA GPUs this process may open, counted without CUDA, which would take memory on each."""

import re
from pathlib import Path

_NODE = re.compile(r"nvidia[0-9]+")


def count(visible: str | None, devices: Path = Path("/dev")) -> int:
    """The driver's device nodes, of which a container has those of its own GPUs; at most as many as `visible` lists.

    `visible` is CUDA_VISIBLE_DEVICES, None if it is not set. As CUDA reads it, the list ends at an empty or negative
    entry. A number that is too high or a name that does not exist is not noticed.
    """
    try:
        nodes = sum(1 for each in devices.iterdir() if _NODE.fullmatch(each.name))
    except OSError:
        return 0
    return nodes if visible is None else min(nodes, _listed(visible))


def _listed(visible: str) -> int:
    names = [name.strip() for name in visible.split(",")]
    return next((number for number, name in enumerate(names) if not name or name.startswith("-")), len(names))
