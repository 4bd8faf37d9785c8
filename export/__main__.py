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
        print("export: interrupted; no bundle was written.", file=sys.stderr)
        sys.exit(130)


def _run() -> int:
    from bundle.errors import BundleError  # torch takes seconds to import: a signal then is an interruption like others
    from export.commands import run
    from export.errors import ExportError
    from models.errors import CheckpointError

    try:
        return run(sys.argv[1:])
    except (CheckpointError, BundleError, ExportError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    main()
