"""`python -m server.shadow`: the process that computes copies of photos for a server, which starts it."""

import os
import signal
import sys

from server.shadow.engine import OpenNetwork, open_network
from server.shadow.worker import Worker

_NICE = 19


def _go_behind() -> None:
    """All that serves goes first. SCHED_IDLE is below the highest niceness; only Linux has it."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    elif hasattr(os, "nice"):
        os.nice(_NICE)


def main(open_network: OpenNetwork = open_network) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's; this process ends with its pipe
    _go_behind()
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not be taken for a reply
    Worker(open_network).work(sys.stdin.buffer, replies)


if __name__ == "__main__":
    main()
