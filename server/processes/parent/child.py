"""Child: one process that the parent has started, and what the parent hears from it."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from server.host.exit_codes import CUT_SHORT
from server.processes.parent.lifeline import HEADER, READY
from server.processes.parent.reaper import Reaper


@dataclass(frozen=True)
class ChildSpec:
    """How a child is started. Its program first calls `Lifeline.attach`, which returns the instructions."""

    name: str
    command: Sequence[str]
    pass_fds: tuple[int, ...] = ()  # the child has them under the same numbers, and no other descriptors
    instructions: bytes = b""  # at most 64 KiB: so much fits into a socket that nobody reads yet
    fatal_codes: frozenset[int] = frozenset()  # exit codes that end the tree where the child was never ready


@dataclass(frozen=True)
class Ending:
    """How a child ended."""

    code: int  # minus a signal's number for a signal
    lived_s: float
    ready: bool

    @property
    def cut_short(self) -> bool:
        """Work was left: the child says so, or a signal killed it, but SIGTERM before it had begun to work."""
        return self.code == CUT_SHORT or (self.code < 0 and (self.ready or self.code != -signal.SIGTERM))

    def __str__(self) -> str:
        how = f"ended with code {self.code}"
        if self.code < 0:
            with contextlib.suppress(ValueError):  # real-time signals have no names
                how = f"was killed by {signal.Signals(-self.code).name}"
        return f"{how} after {self.lived_s:.1f} s"


class Child:
    """Runs on the event loop of the parent. Starts the process at once; raises OSError where that fails."""

    def __init__(self, spec: ChildSpec, reaper: Reaper, restarts: int = 0) -> None:
        """`restarts`: how often the same child was started before; it is told."""
        self._loop = asyncio.get_running_loop()
        self._lifeline, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(self._lifeline.close)
            self._lifeline.setblocking(False)
            self._instruct(spec.instructions, restarts)
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                spec.command, stdin=theirs.fileno(), pass_fds=spec.pass_fds, process_group=0
            )
            undo.pop_all()
        self._ended = reaper.watch(self._process.pid)
        self._started_s = time.monotonic()
        self._silent_checks = 0
        self.ready = False
        self._loop.add_reader(self._lifeline, self._hear)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ended(self) -> Ending:
        """Waits until the process has ended and is reaped; releases what the parent held for it."""
        code = await asyncio.shield(self._ended)
        self._process.returncode = code  # else Popen would look for a process that the reaper has seen off
        self._hear()  # a last word may be there
        self._loop.remove_reader(self._lifeline)
        self._lifeline.close()
        return Ending(code, time.monotonic() - self._started_s, self.ready)

    def silent_checks(self) -> int:
        """How often this was called since the last sign of life."""
        self._silent_checks += 1
        return self._silent_checks

    def terminate(self) -> None:
        """Ask the process to leave."""
        if not self._ended.done():
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process and all of its process group."""
        if not self._ended.done():
            os.killpg(self.pid, signal.SIGKILL)

    def _instruct(self, instructions: bytes, restarts: int) -> None:
        frame = HEADER.pack(os.getpid(), restarts, len(instructions)) + instructions
        if self._lifeline.send(frame) < len(frame):
            raise ValueError(f"{len(frame)} bytes of instructions do not fit into the socket")

    def _hear(self) -> None:
        """Called when the child has sent something or has closed its end."""
        try:
            heard = self._lifeline.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        if not heard:  # it is ending, or will be found silent
            self._loop.remove_reader(self._lifeline)
            return
        self._silent_checks = 0
        self.ready = self.ready or READY in heard
