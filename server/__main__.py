"""`python -m server`: reads the settings and runs the app, or `doctor`, which reports what the machine has."""

import argparse
import asyncio
import logging
import os
from collections.abc import Callable

from bundle.errors import BundleError
from server import doctor, options, process
from server.app import LOAD_FAILED, App, handle_signals
from server.compose import Parts, compose
from server.listening import CannotListen
from server.logs import Logs
from server.settings import Settings, SettingsError

USAGE_ERROR = 2


def main(compose: Callable[[Settings], Parts] = compose) -> None:
    """Exit codes: 0 all admitted work was answered, 1 some was not, 2 the settings cannot be used, 3 a model cannot be
    loaded, 70 an engine hangs. Measurements pass their own `compose`.
    """
    parser = argparse.ArgumentParser(prog="python -m server", description="Serve bundles over REST and gRPC.")
    parser.add_argument(
        "command",
        nargs="?",
        default="serve",
        choices=("serve", "doctor"),
        help="serve (default), or doctor: report which engines work on this machine, and how fast",
    )
    options.add_options(parser)
    given = vars(parser.parse_args())
    command = given.pop("command")
    try:
        chosen = options.read(given, os.environ)
    except SettingsError as error:
        parser.exit(USAGE_ERROR, f"server: {error}\n")
    logs = Logs(chosen.log_level)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # the app itself logs what it does
    process.give_memory_back()
    process.allow_connections(chosen.max_connections)
    logs.end_process(_report(chosen) if command == "doctor" else _serve(chosen, compose, logs))


def _report(chosen: Settings) -> int:
    """Print the findings as they come. Exit codes: 0 nothing is wrong, 1 something is."""
    bad = False
    for finding in doctor.findings(chosen):
        print(finding.line(), flush=True)
        bad = bad or bool(finding.cure)
    return 1 if bad else 0


def _serve(chosen: Settings, compose: Callable[[Settings], Parts], logs: Logs) -> int:
    async def run() -> int:
        app = App(compose(chosen))
        app.parts.metrics.log_lines_dropped.set_function(logs.dropped)
        handle_signals(app, logs.end_process)
        return await app.run()

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(run())
    except BundleError as error:
        logging.getLogger(__name__).error("%s", error)
        return LOAD_FAILED
    except CannotListen as error:
        logging.getLogger(__name__).error("%s", error)
        return USAGE_ERROR


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
