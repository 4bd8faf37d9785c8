"""`python -m bench.canary`: how two versions share 10 000 callers over HTTP, and that each caller keeps its own."""

import argparse
import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Sequence

from bench.arrivals import Connections
from bench.running import running
from bench.versions import OPTIONS, point, two_versions
from tests.support.pictures import jpeg

_CANARY = 5.0  # per cent
_Z = 2.5758  # of 99 %
_CONNECTIONS = 16


def main() -> None:
    """Prints how many callers each version answered, in which interval the canary's have to be, and who moved."""
    parser = argparse.ArgumentParser(prog="python -m bench.canary", description=__doc__)
    parser.add_argument("--callers", type=int, default=10_000)
    parser.add_argument("--fronts", type=int, default=0)
    options = parser.parse_args()
    callers = [f"caller-{number}" for number in range(options.callers)]
    with (
        two_versions("demo") as root,
        running(root, "bench.fast_server", (*OPTIONS, f"--fronts={options.fronts}")) as server,
    ):
        found = []
        for weight in (_CANARY, _CANARY, 5 * _CANARY):
            shares = [{"version": "1", "weight": 100 - weight}, {"version": "2", "weight": weight}]
            point(server, versions=shares)
            time.sleep(1)  # until every front knows
            found.append(asyncio.run(_answering(server.port, callers)))
    first, again, more = found
    reach = _Z * math.sqrt(len(callers) * _CANARY * (100 - _CANARY)) / 100
    middle = len(callers) * _CANARY / 100
    print(
        json.dumps(
            {
                "callers": len(callers),
                "fronts": options.fronts,
                "answered": Counter(first.values()),
                "interval_99": [round(middle - reach), round(middle + reach)],
                "changed_sides": sum(first[caller] != again[caller] for caller in callers),
                "answered_at_25_per_cent": Counter(more.values()),
                "moved_back": sum(first[caller] == "2" and more[caller] == "1" for caller in callers),
            }
        )
    )


async def _answering(port: int, callers: Sequence[str]) -> dict[str, str]:
    """The version that answered each caller, over a few connections that all share."""
    connections, waiting, photo = Connections(port), list(callers), jpeg()
    found: dict[str, str] = {}

    async def ask() -> None:
        while waiting:
            caller = waiting.pop()
            status, body = await connections.post(photo, b"X-Caller-Id: %s\r\n" % caller.encode())
            answer = json.loads(body)
            if status != 200:
                raise RuntimeError(f"{caller} got {status}: {answer['detail']}")
            found[caller] = answer["version"]

    await asyncio.gather(*(ask() for _ in range(_CONNECTIONS)))
    connections.close()
    return found


if __name__ == "__main__":
    main()
