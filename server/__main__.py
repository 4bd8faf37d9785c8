"""`python -m server`: reads the settings and runs the app, or tells what the machine has."""

import argparse
import asyncio
import logging
import os
from collections.abc import Callable

from bundle.errors import BundleError
from server import doctor, process, settings
from server.app import LOAD_FAILED, App, CannotListen, handle_signals
from server.logs import Logs
from server.settings import Settings, SettingsError

USAGE_ERROR = 2


def main(make: Callable[[Settings], App] = App) -> None:
    """Exit codes: 0 stopped by a signal with all work done, 1 cut short, 2 usage, 3 a model cannot be loaded, 70 an
    engine hung. `make` is for measurements of other apps.
    """
    parser = argparse.ArgumentParser(prog="python -m server", description="Serve bundles over REST and gRPC.")
    parser.add_argument(
        "command",
        nargs="?",
        default="serve",
        choices=("serve", "doctor"),
        help="doctor tells what runs here, and how fast",
    )
    settings.add_options(parser)
    options = vars(parser.parse_args())
    command = options.pop("command")
    try:
        chosen = settings.read(options, os.environ)
    except SettingsError as error:
        parser.exit(USAGE_ERROR, f"server: {error}\n")
    logs = Logs(chosen.log_level)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # the app itself tells what it does
    process.give_memory_back()
    process.allow_connections(chosen.max_connections)
    logs.end_process(_tell(chosen) if command == "doctor" else _serve(chosen, make, logs))


def _tell(chosen: Settings) -> int:
    """Exit codes: 0 all is well, 1 something is not."""
    bad = False
    for finding in doctor.findings(chosen):
        print(finding.line(), flush=True)
        bad = bad or bool(finding.cure)
    return 1 if bad else 0


def _serve(chosen: Settings, make: Callable[[Settings], App], logs: Logs) -> int:
    async def run() -> int:
        app = make(chosen)
        app.watch_log(logs.dropped)
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
