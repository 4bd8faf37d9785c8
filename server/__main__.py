"""`python -m server`: reads the settings and runs the app, `doctor`, `classify` (photos) or `new-key` (a secret)."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from server import options
from server.host import process
from server.host.exit_codes import LOAD_FAILED, USAGE_ERROR
from server.host.listening import CannotListen
from server.host.logs import Logs
from server.keys import new_key
from server.keys.key_file import KeysError
from server.keys.sources import Sources
from server.network.key_pair import TlsError, read_key_pair
from server.settings import Settings, SettingsError
from server.startup.front_count import front_count
from server.startup.weaknesses import warn_of_weaknesses

if TYPE_CHECKING:
    from server.startup.compose import Parts

Compose = Callable[[Settings], "Parts"]

log = logging.getLogger("server")  # __name__ is __main__ here

CHILDREN = "server.startup.children"


def main(compose: Compose | None = None, children: str = CHILDREN) -> None:
    """Exit codes: 0 all admitted work was answered, 1 some was not, 2 the settings cannot be used, 3 a model cannot be
    loaded, 70 an engine hangs. Measurements pass their own `compose`, and the module of their own `children`.
    """
    if sys.argv[1:2] == ["classify"]:
        _classify(sys.argv[2:])
    if sys.argv[1:2] == ["new-key"]:
        sys.exit(new_key.main(sys.argv[2:]))
    parser = argparse.ArgumentParser(prog="python -m server", description="Serve bundles over REST and gRPC.")
    parser.add_argument(
        "command",
        nargs="?",
        default="serve",
        choices=("serve", "doctor", "ready", "classify", "new-key"),
        help="serve (default); doctor: report which engines work on this machine, and how fast; classify: photos "
        "without a running server (`classify --help` lists its options); new-key NAME: make an API key; or ready: "
        "whether the server that runs here with these settings is ready",
    )
    options.add_options(parser)
    parsed, unknown = parser.parse_known_args()
    given = vars(parsed)
    command = given.pop("command")
    if command == "classify":
        parser.error("classify comes first: python -m server classify PHOTO … --model-repository FOLDER")
    if command == "new-key":
        parser.error("new-key comes first: python -m server new-key NAME")
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        chosen = options.read(given, os.environ)
        secrets = Sources(chosen.keys, chosen.admin_token, chosen.admin_token_file)
        ring = secrets.read()  # here: no process has to be started
    except (SettingsError, KeysError) as error:
        parser.exit(USAGE_ERROR, f"server: {error}\n")
    if command == "ready":
        sys.exit(_ask(chosen))
    logs = Logs(chosen.log_level, format=chosen.log_format)
    if command == "doctor":
        logs.end_process(_report(chosen))
    fronts = front_count(chosen, os.environ)
    warn_of_weaknesses(chosen, has_secrets=bool(ring.keys))
    logs.end_process(_serve_tree(chosen, fronts, children) if fronts else _serve(chosen, compose, logs))


def _classify(arguments: Sequence[str]) -> NoReturn:
    """Classify photos here, and end the process."""
    from server.offline import command

    command.main(arguments, os.environ)


def _ask(chosen: Settings) -> int:
    """Exit codes: 0 the server is ready, 1 it is not, and stderr says why."""
    from server.startup import ready

    fault = ready.fault(chosen)
    if fault:
        print(f"server: not ready: {fault}", file=sys.stderr)
    return 1 if fault else 0


def _report(chosen: Settings) -> int:
    """Print the findings as they come. Exit codes: 0 nothing is wrong, 1 something is."""
    from server import doctor

    bad = False
    for finding in doctor.findings(chosen):
        print(finding.line(), flush=True)
        bad = bad or bool(finding.cure)
    return 1 if bad else 0


def _serve_tree(chosen: Settings, fronts: int, children: str) -> int:
    """Several processes. This one stays small, so it imports neither faces nor engines."""
    from server.startup.tree import run_tree

    try:
        if files := chosen.tls_files():
            read_key_pair(files)  # else each front would find what is wrong
        return run_tree(chosen, fronts, children)
    except (CannotListen, TlsError) as error:
        log.error("%s", error)
        return USAGE_ERROR


def _serve(chosen: Settings, compose: Compose | None, logs: Logs) -> int:
    """One process."""
    from bundle.errors import BundleError
    from server.process_metrics import SERVER, show_process
    from server.startup.app import App, handle_signals
    from server.startup.compose import compose as compose_all

    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # the app itself logs what it does
    process.give_memory_back()
    process.allow_connections(chosen.max_connections)

    async def run() -> int:
        app = App((compose or compose_all)(chosen))
        app.parts.metrics.log_lines_dropped.set_function(logs.dropped)
        show_process(app.parts.metrics.registry, SERVER)
        handle_signals(app, logs.end_process)
        return await app.run()

    try:
        with asyncio.Runner(loop_factory=process.event_loop()) as runner:
            return runner.run(run())
    except BundleError as error:
        log.error("%s", error)
        return LOAD_FAILED
    except (CannotListen, KeysError, TlsError) as error:
        log.error("%s", error)
        return USAGE_ERROR


if __name__ == "__main__":
    main()
