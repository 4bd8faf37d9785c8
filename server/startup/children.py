"""`python -m server.startup.children front-N` and `core`: the processes that `python -m server --fronts N` starts."""

import asyncio
import logging
import socket
import sys

from bundle.errors import BundleError
from server.host import process
from server.host.exit_codes import LOAD_FAILED, USAGE_ERROR
from server.host.listening import CannotListen
from server.host.logs import Logs
from server.keys.key_file import KeysError
from server.network.key_pair import TlsError
from server.processes.parent.lifeline import Lifeline, NotAChild
from server.startup.compose_models import Choose
from server.startup.core_process import CoreProcess
from server.startup.tree import Instructions

log = logging.getLogger("server.startup.children")  # __name__ is __main__ here


def main(choose: Choose | None = None) -> None:
    """Exit codes are those of `python -m server`. Measurements pass their own engines."""
    try:
        lifeline, text = Lifeline.attach()
    except NotAChild as error:
        sys.stderr.write(f"server.startup.children: {error}\n")
        sys.exit(USAGE_ERROR)
    instructions = Instructions.from_json(text)
    name = sys.argv[1]
    logs = Logs(instructions.settings.log_level, name, instructions.settings.log_format)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # the app itself logs what it does
    process.give_memory_back()
    process.allow_connections(instructions.settings.max_connections)

    async def run() -> int:
        lifeline.follow(asyncio.get_running_loop())
        if name == "core":
            return await _core(instructions, lifeline, logs, choose)
        return await _front(instructions, lifeline, logs)

    try:
        with asyncio.Runner(loop_factory=process.event_loop()) as runner:
            code = runner.run(run())
    except (BundleError, TlsError) as error:  # the parent found the files of TLS right: they are being renewed
        log.error("%s", error)
        code = LOAD_FAILED
    except (CannotListen, KeysError) as error:
        log.error("%s", error)
        code = USAGE_ERROR
    logs.end_process(code)


async def _front(instructions: Instructions, lifeline: Lifeline, logs: Logs) -> int:
    from server.process_metrics import show_process
    from server.startup.app import App, handle_signals  # the core needs no faces
    from server.startup.compose import compose_front
    from server.startup.listeners import Listeners

    app = App(compose_front(instructions.settings, instructions.control, sys.argv[1]))
    app.parts.metrics.log_lines_dropped.set_function(logs.dropped)
    show_process(app.parts.metrics.registry, sys.argv[1], lifeline.restarts)
    handle_signals(app, logs.end_process)
    return await app.run(listeners=Listeners.inherited(instructions.http_fds), on_ready=lifeline.ready)


async def _core(instructions: Instructions, lifeline: Lifeline, logs: Logs, choose: Choose | None) -> int:
    core = CoreProcess(instructions.settings, choose, logs.dropped, lifeline.restarts)
    with socket.socket(fileno=instructions.fd) as listener:
        return await core.run(listener, lifeline.ready)


if __name__ == "__main__":
    main()
