"""`python -m tests.containers docker compose`: builds the image, starts docker-compose.yml, and tries it as users do.

What comes after the module is the command that stands for `docker compose`.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.containers.checks import CHECKS
from tests.containers.stack import Complaint, Stack


def main() -> int:
    """Exit codes: 0 all is as expected, 1 something is not, 2 usage."""
    parser = argparse.ArgumentParser(prog="python -m tests.containers", description=__doc__)
    parser.add_argument("compose", nargs="+", metavar="COMMAND", help="such as: docker compose")
    parser.add_argument("--fronts", type=int, default=0, help="the setting of the server; default 0: one process")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="sesame-containers-") as folder,
        Stack(options.compose, Path(folder), options.fronts) as stack,
    ):
        for number, (name, check) in enumerate(CHECKS):
            try:
                print(f"ok    {name}: {check(stack)}", flush=True)
            except Complaint as complaint:
                print(f"FAIL  {name}: {complaint}", flush=True)
                print(f"{number} passed, 1 failed, {len(CHECKS) - number - 1} not tried", flush=True)
                return 1
    print(f"{len(CHECKS)} passed, 0 failed", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
