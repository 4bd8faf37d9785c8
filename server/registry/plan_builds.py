"""PlanBuilds: has the export build the TensorRT plans that a GPU lacks, while other engines serve."""

import asyncio
import contextlib
import logging
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from pathlib import Path

from bundle.files import Bundle
from server.registry.deployer import Deployer
from server.registry.entry import Entry
from server.registry.folder import Signature
from server.registry.repository import Repository
from trt.gpus import Gpu
from trt.graphs import PRECISIONS, worth_building

log = logging.getLogger(__name__)

_CHECK_EVERY_S = 2.0
_TERMINATE_LIMIT_S = 2.0
_LINE_BYTES = 1 << 20
_ROOT = Path(__file__).parents[2]

_WORKSPACE_MIB = 1024
"""For each kernel: a quarter of the command's default, because another engine uses the GPU's memory too."""

Commands = Callable[[Bundle], Sequence[Sequence[Sequence[str]]]]
"""Returns the commands that build a bundle's plans: for each precision one command for each GPU."""


class PlanBuilds:
    """Builds one plan after the other, each in a process of its own. A version whose plans cannot be built is served
    as it is, and not tried again until its files change.
    """

    def __init__(
        self,
        repository: Repository,
        deployer: Deployer,
        could_have_plans: Callable[[str], bool],
        has_plans: Callable[[Bundle], bool],
        commands: Commands,
    ) -> None:
        """`could_have_plans`: whether a version that runs on the engine of that name could run on plans."""
        self._repository = repository
        self._deployer = deployer
        self._could_have_plans = could_have_plans
        self._has_plans = has_plans
        self._commands = commands
        self._checked: set[tuple[Path, Signature | None]] = set()

    async def run(self) -> None:
        """Look for versions without a plan until cancelled; a running build is then ended."""
        while True:
            for entry in self._repository.entries():
                if entry.ready and (entry.path, entry.tried) not in self._checked:
                    self._checked.add((entry.path, entry.tried))
                    if self._could_have_plans(entry.ready.loaded.engine.name):
                        await self._build(entry, entry.ready.loaded.bundle)
            await asyncio.sleep(_CHECK_EVERY_S)

    async def _build(self, entry: Entry, bundle: Bundle) -> None:
        """Build one precision after the other, and load the version again after each: with the first plan the engine
        that served before gives its GPU memory to the builds that follow.
        """
        name = f"{entry.name}/{entry.version}"
        log.info("building TensorRT plans of %s; other engines serve it meanwhile", name)
        for commands in self._commands(bundle):
            try:
                codes = [await _run_command(command, name) for command in commands]
            except Exception:  # the system may have no memory for a process, for example
                log.exception("no plan of %s was built", name)
                return
            if code := max(codes):
                log.warning(
                    "not all plans of %s were built (exit code %d); `python -m server doctor` says more", name, code
                )
            elif await asyncio.to_thread(self._has_plans, bundle):
                await self._deployer.reload(entry)
            if not entry.ready:  # it was unloaded meanwhile
                return


def commands(gpus: Sequence[Gpu], max_batch: int, precision: str, cache_dir: Path) -> Commands:
    """`python -m export build-engine` for each GPU. Of two GPUs of one model the second one's command ends at once.

    `nice` leaves the cores to requests. `--end-with-stdin` ends the build when this process ends, in whatever way.
    """
    numbers = {"--max-batch": max_batch, "--workspace-mib": _WORKSPACE_MIB, "--cache-dir": cache_dir.resolve()}
    fixed = ["--end-with-stdin", *(str(text) for option in numbers.items() for text in option)]

    def commands_of(bundle: Bundle) -> list[list[list[str]]]:
        proven = [PRECISIONS[graph] for graph in worth_building(bundle, *gpus)]
        wanted = proven if precision == "auto" else [precision]
        build = ["nice", "-n", "19", sys.executable, "-m", "export", "build-engine", str(bundle.path.resolve()), *fixed]
        return [[[*build, "--precision", name, "--gpu", str(gpu.index)] for gpu in gpus] for name in wanted]

    return commands_of


async def _run_command(command: Sequence[str], name: str) -> int:
    """Returns the exit code. What the process writes to stderr goes into the log."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=_ROOT, stdin=PIPE, stdout=DEVNULL, stderr=PIPE, limit=_LINE_BYTES
    )
    try:
        await _log_stderr(process, name)
        return await process.wait()
    finally:
        if process.returncode is None:  # cancelled: the server leaves
            await _terminate(process)


async def _log_stderr(process: Process, name: str) -> None:
    assert process.stderr
    while True:
        try:
            line = await process.stderr.readline()
        except ValueError:  # longer than _LINE_BYTES: no message of ours
            continue
        if not line:
            return
        log.info("%s: %s", name, line.decode("utf-8", "replace").rstrip())


async def _terminate(process: Process) -> None:
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _TERMINATE_LIMIT_S)
    except TimeoutError:  # TensorRT ends only between two steps
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
