"""`python -m export`: from checkpoints to bundles."""

import signal
import sys


def main() -> None:
    """Exit codes: 0 done, 1 refused or found wanting with a sentence, 2 wrong usage, 130 interrupted."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # they leave through the same clean-up as Ctrl-C
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(_run())
    except KeyboardInterrupt:
        print("export: interrupted; nothing was written.", file=sys.stderr)
        sys.exit(130)


def _run() -> int:
    from bundle.errors import BundleError  # what follows takes seconds: a signal then is an interruption like others
    from export.errors import ExportError
    from models.errors import CheckpointError
    from plans.errors import PlanError

    try:
        return _command()
    except (CheckpointError, BundleError, ExportError, PlanError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 1


def _command() -> int:
    """Engines are built without torch, which images of the server have not; all else needs it."""
    from export.tensorrt import command

    if sys.argv[1:2] == [command.NAME]:
        return command.run(sys.argv[2:])
    from export.commands import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    main()
