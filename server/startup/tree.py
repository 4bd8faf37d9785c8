"""Tree: the processes of `--fronts N`: what the parent opens for them, and what it tells each."""

import asyncio
import contextlib
import dataclasses
import json
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from server.host import cores
from server.host.listening import reserve_grpc_port
from server.processes.parent.child import ChildSpec
from server.processes.parent.parent import Parent
from server.processes.parent.supervisor import Limits
from server.processes.wire import control_socket
from server.settings import PATHS, Settings, folder_or_url
from server.startup.listeners import Listeners

log = logging.getLogger(__name__)

_LEAST_DECODE_THREADS = 2  # of a front: with one, a photo that takes long would hold up all others
_FATAL_FOR_CORE, _FATAL_FOR_FRONT = frozenset({2, 3}), frozenset({2})


@dataclass(frozen=True)
class Instructions:
    """What the parent tells a child. `control`: the name of the control socket. `fd`: its listening socket, for the
    core. `http_fds`: those of HTTP, for a front, as `Listeners.descriptors` says; -1 where there is none.
    """

    settings: Settings
    control: str
    fd: int = -1
    http_fds: tuple[int, int, int] = (-1, -1, -1)

    def to_json(self) -> bytes:
        values = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in dataclasses.asdict(self.settings).items()
        }
        told = {"settings": values, "control": self.control, "fd": self.fd, "http_fds": self.http_fds}
        return json.dumps(told).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        told: dict[str, Any] = json.loads(text)
        paths = {field.name for field in dataclasses.fields(Settings) if field.type in PATHS}
        values: dict[str, Any] = {
            name: Path(value) if name in paths and value is not None else value
            for name, value in told["settings"].items()
        }
        values["model_repository"] = folder_or_url(values["model_repository"])
        http, admin, unix = told["http_fds"]
        return cls(Settings(**values), told["control"], told["fd"], (http, admin, unix))

    def descriptors(self) -> tuple[int, ...]:
        """What the child inherits."""
        return tuple(number for number in (self.fd, *self.http_fds) if number >= 0)


def run_tree(settings: Settings, fronts: int, module: str) -> int:
    """Run the parent until it is told to leave; returns the exit code. Raises CannotListen.

    `fronts`: how many, at least 1. `module`: what a child runs, by its name.
    """
    listeners = Listeners.open(settings)
    with contextlib.closing(listeners):
        grpc = reserve_grpc_port(settings.host, settings.grpc_port)
        return _run_listening(settings, fronts, module, listeners, grpc)


def _run_listening(settings: Settings, fronts: int, module: str, listeners: Listeners, grpc: socket.socket) -> int:
    control, name = control_socket.listen()
    with grpc, control:
        ports = listeners.http.getsockname()[1], grpc.getsockname()[1]
        core = _spec("core", module, Instructions(settings, name, control.fileno()), _FATAL_FOR_CORE)
        front = dataclasses.replace(share_of_front(settings, fronts), http_port=ports[0], grpc_port=ports[1])
        told = Instructions(front, name, http_fds=listeners.descriptors())
        specs = [_spec(f"front-{number}", module, told, _FATAL_FOR_FRONT) for number in range(fronts)]
        log.info("listening %s", listeners.line(settings, ports[1]))
        limits = Limits.of_drain(settings.drain_delay_s, settings.drain_limit_s)
        return asyncio.run(_run(core, specs, limits, listeners.close))


async def _run(core: ChildSpec, fronts: Sequence[ChildSpec], limits: Limits, on_leaving: Callable[[], None]) -> int:
    return await Parent(core, fronts, limits, on_leaving).run()


def _spec(name: str, module: str, instructions: Instructions, fatal_codes: frozenset[int]) -> ChildSpec:
    command = [sys.executable, "-m", module, name]
    return ChildSpec(name, command, instructions.descriptors(), instructions.to_json(), fatal_codes)


def share_of_front(settings: Settings, fronts: int) -> Settings:
    """The part of one of so many fronts in what the settings allow to all together."""
    least_bytes = 2 * max(settings.max_request_bytes, settings.max_image_bytes)
    threads = settings.decode_threads or cores.usable()
    return dataclasses.replace(
        settings,
        decode_threads=max(min(_LEAST_DECODE_THREADS, threads), -(-threads // fronts)),
        max_connections=-(-settings.max_connections // fronts),
        receive_bytes=max(least_bytes, settings.receive_bytes // fronts),
    )
