"""Building: plans that a GPU lacks are built by the export, in a process of its own, while other engines serve."""

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from server.keeper import Keeper
from server.repository import Entry, Repository, Signature

log = logging.getLogger(__name__)

_LOOK_S = 2.0
_ROOT = Path(__file__).parents[1]


class Building:
    """One plan after the other. A version whose plans cannot be built goes on as it is; its files are tried once."""

    def __init__(
        self, repository: Repository, keeper: Keeper, lacks: Callable[[str], bool], commands: "Commands"
    ) -> None:
        """`lacks`: whether a version on the engine of that name could have plans, and has none."""
        self._repository = repository
        self._keeper = keeper
        self._lacks = lacks
        self._commands = commands
        self._seen: set[tuple[Path, Signature | None]] = set()

    async def go_on(self, after: "asyncio.Task[bool]") -> None:
        """Look for versions without a plan, as long as the server lives. A build that runs ends with it."""
        await asyncio.wait((after,))
        while True:
            for entry in self._repository.entries():
                if entry.ready and (entry.path, entry.tried) not in self._seen:
                    self._seen.add((entry.path, entry.tried))
                    if self._lacks(entry.ready.loaded.engine.name):
                        await self._build(entry)
            await asyncio.sleep(_LOOK_S)

    async def _build(self, entry: Entry) -> None:
        name = f"{entry.name}/{entry.version}"
        log.info("building TensorRT plans of %s; it is served by other engines meanwhile", name)
        for command in self._commands(entry.path):
            if (code := await _run(command, name)) != 0:
                log.warning("no plan of %s was built (exit code %d): see above; `server doctor` tells more", name, code)
                return
        await self._keeper.again(entry)


Commands = Callable[[Path], Sequence[Sequence[str]]]
"""What builds the plans of a bundle's folder: one command for each kind of GPU."""


def commands(gpus: Sequence[int], max_batch: int, precision: str, cache_dir: Path) -> Commands:
    """`python -m export build-engine` for each of CUDA's devices; of those of one kind the second has nothing to do.

    Requests have the cores first.
    """
    chosen = [] if precision == "auto" else ["--precision", precision]

    def of(path: Path) -> list[list[str]]:
        built = ["nice", "-n", "10", sys.executable, "-m", "export", "build-engine", str(path)]
        fixed = ["--cache-dir", str(cache_dir), "--max-batch", str(max_batch), *chosen]
        return [[*built, *fixed, "--gpu", str(gpu)] for gpu in gpus]

    return of


async def _run(command: Sequence[str], name: str) -> int:
    """The exit code. What the process tells goes into the log."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=_ROOT, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr
    try:
        async for line in process.stderr:
            log.info("%s: %s", name, line.decode("utf-8", "replace").rstrip())
        return await process.wait()
    finally:
        if process.returncode is None:  # the server leaves
            process.terminate()
            await process.wait()
