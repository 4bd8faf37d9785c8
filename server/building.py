"""Building: plans that a GPU lacks are built by the export, in a process of its own, while other engines serve."""

import asyncio
import contextlib
import logging
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from pathlib import Path

from bundle.files import Bundle
from plans.gpus import Gpu
from plans.graphs import PRECISIONS, worth_building
from server.keeper import Keeper
from server.repository import Entry, Repository, Signature

log = logging.getLogger(__name__)

_LOOK_S = 2.0
_ENDS_IN_S = 2.0  # of a process that was asked to
_LINE_BYTES = 1 << 20
_ROOT = Path(__file__).parents[1]

_WORKSPACE_MIB = 1024
"""For one kernel: a quarter of the command's own default, as another engine has its share of the GPU's memory."""

Commands = Callable[[Bundle], Sequence[Sequence[Sequence[str]]]]
"""What builds a bundle's plans: for each precision one command for each GPU."""


class Building:
    """One plan after the other. A version whose plans cannot be built goes on as it is; its files are tried once."""

    def __init__(
        self,
        repository: Repository,
        keeper: Keeper,
        could: Callable[[str], bool],
        has_plans: Callable[[Bundle], bool],
        commands: Commands,
    ) -> None:
        """`could`: whether a version that runs on the engine of that name could run on plans."""
        self._repository = repository
        self._keeper = keeper
        self._could = could
        self._has_plans = has_plans
        self._commands = commands
        self._seen: set[tuple[Path, Signature | None]] = set()

    async def go_on(self, after: "asyncio.Task[bool]") -> None:
        """Look for versions without a plan, as long as the server lives. A build that runs ends with it."""
        await asyncio.wait((after,))
        while True:
            for entry in self._repository.entries():
                if entry.ready and (entry.path, entry.tried) not in self._seen:
                    self._seen.add((entry.path, entry.tried))
                    if self._could(entry.ready.loaded.engine.name):
                        await self._build(entry, entry.ready.loaded.bundle)
            await asyncio.sleep(_LOOK_S)

    async def _build(self, entry: Entry, bundle: Bundle) -> None:
        """One precision after the other. After each the version is loaded again: from the first one on the engine that
        served it before leaves the GPU's memory to what is built next.
        """
        name = f"{entry.name}/{entry.version}"
        log.info("building TensorRT plans of %s; it is served by other engines meanwhile", name)
        for commands in self._commands(bundle):
            try:
                codes = [await _run(command, name) for command in commands]
            except Exception:  # the system may have no room for a process, say
                log.exception("no plan of %s was built", name)
                return
            if code := max(codes):
                log.warning("not all plans of %s were built (exit code %d); `server doctor` tells more", name, code)
            elif await asyncio.to_thread(self._has_plans, bundle):
                await self._keeper.again(entry)
            if not entry.ready:  # it was unloaded meanwhile
                return


def commands(gpus: Sequence[Gpu], max_batch: int, precision: str, cache_dir: Path) -> Commands:
    """`python -m export build-engine` for each of CUDA's devices; of those of one kind the second has nothing to do.

    Requests have the cores first. The process ends with this one, however that ends: its standard input does.
    """
    numbers = {"--max-batch": max_batch, "--workspace-mib": _WORKSPACE_MIB, "--cache-dir": cache_dir.resolve()}
    fixed = ["--end-with-stdin", *(str(text) for option in numbers.items() for text in option)]

    def of(bundle: Bundle) -> list[list[list[str]]]:
        proven = [PRECISIONS[graph] for graph in worth_building(bundle, *gpus)]
        wanted = proven if precision == "auto" else [precision]
        built = ["nice", "-n", "19", sys.executable, "-m", "export", "build-engine", str(bundle.path.resolve()), *fixed]
        return [[[*built, "--precision", name, "--gpu", str(gpu.index)] for gpu in gpus] for name in wanted]

    return of


async def _run(command: Sequence[str], name: str) -> int:
    """The exit code. What the process tells goes into the log."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=_ROOT, stdin=PIPE, stdout=DEVNULL, stderr=PIPE, limit=_LINE_BYTES
    )
    try:
        await _tell(process, name)
        return await process.wait()
    finally:
        if process.returncode is None:  # the server leaves
            await _end(process)


async def _tell(process: Process, name: str) -> None:
    assert process.stderr
    while True:
        try:
            line = await process.stderr.readline()
        except ValueError:  # longer than any that is meant to be read
            continue
        if not line:
            return
        log.info("%s: %s", name, line.decode("utf-8", "replace").rstrip())


async def _end(process: Process) -> None:
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _ENDS_IN_S)
    except TimeoutError:  # TensorRT is in the middle of a step
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
