"""`python -m export`: converts checkpoints to bundles, checks them and builds TensorRT plans."""

import signal
import sys


def main() -> None:
    """Exit codes: 0 done, 1 an error or a failed check, which is printed, 2 wrong usage, 130 interrupted."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # clean up as on Ctrl-C
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(_run())
    except KeyboardInterrupt:
        print("export: interrupted; nothing was written.", file=sys.stderr)
        sys.exit(130)


def _run() -> int:
    from bundle.errors import BundleError  # imports take seconds, so they come after the signal handlers are set
    from export.errors import ExportError
    from models.errors import CheckpointError
    from trt.errors import PlanError

    try:
        return _command()
    except (CheckpointError, BundleError, ExportError, PlanError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 1


def _command() -> int:
    """Run the command. These must not import torch: `build-engine`, since the server's container image does not have
    it, `push` and `pull`, since it takes seconds.
    """
    from export import transfers
    from export.tensorrt import command

    if sys.argv[1:2] and sys.argv[1] in transfers.NAMES:
        return transfers.run(sys.argv[1:])
    if sys.argv[1:2] == [command.NAME]:
        return command.run(sys.argv[2:])
    from export.commands import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    main()
