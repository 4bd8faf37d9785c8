"""`python -m tests.attacks.fuzz`: thousands of nearly good requests to a real server; the same seed sends the same."""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.attacks.attack import MIB, Target
from tests.attacks.fuzzing.seeds import Requests
from tests.attacks.fuzzing.senders import Said, send
from tests.attacks.server import Server
from tests.attacks.trial import top
from tests.attacks.verdict import TRACEBACK

_GROWTH_BYTES = 100 * MIB
_BACK_S = 10.0
_WARM = 1000  # requests after which a server's memory is what it needs for such
_LIMIT_S = 1800.0


@dataclass(frozen=True)
class Fuzzed:
    """What became of the server. `unlike`: how it answers otherwise than before."""

    said: Said
    seconds: float
    growth_bytes: int
    alive: bool
    unlike: str
    tracebacks: int

    def harm(self) -> list[str]:
        found = {
            "the process ended": not self.alive,
            f"afterwards {self.unlike}": bool(self.unlike),
            f"{self.tracebacks} tracebacks in its log": self.tracebacks > 0,
            f"+{self.growth_bytes // MIB} MiB": self.growth_bytes > _GROWTH_BYTES,
            f"offending requests, kept in {self.said.folder}": bool(self.said.offending),
        }
        return [harm for harm, is_so in found.items() if is_so]


def fuzzed(face: str, bodies: int, seed: int, offending: Path) -> Fuzzed:
    """Send so many. Raises ServerFailed where the server does not start; `offending` is where such bodies go."""
    with tempfile.TemporaryDirectory(prefix="sesame-fuzz-") as folder, Server(Path(folder)) as server:
        target = Target(server.http_port, server.grpc_port, face, _LIMIT_S)
        return asyncio.run(asyncio.wait_for(_fuzzed(server, target, bodies, seed, Said(offending)), _LIMIT_S))


async def _fuzzed(server: Server, target: Target, bodies: int, seed: int, said: Said) -> Fuzzed:
    requests = Requests(seed)
    before = await top(target.http_port)
    began_s = time.monotonic()
    await send(target, requests, min(_WARM, bodies // 2), said)
    start_bytes = server.memory_bytes()
    await send(target, requests, bodies - min(_WARM, bodies // 2), said)
    seconds = time.monotonic() - began_s
    after = await top(target.http_port)
    growth_bytes = await _growth(server, start_bytes)
    unlike = "" if after == before else f"it answers {after}"
    return Fuzzed(said, seconds, growth_bytes, server.alive, unlike, server.log().count(TRACEBACK))


async def _growth(server: Server, start_bytes: int) -> int:
    """Of its memory, once that is small enough or ten seconds are over."""
    limit_s = time.monotonic() + _BACK_S
    while (growth := server.memory_bytes() - start_bytes) > _GROWTH_BYTES and time.monotonic() < limit_s:
        await asyncio.sleep(0.25)
    return growth


def main() -> int:
    """Exit codes: 0 no harm, 1 harm, 2 usage."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.fuzz", description=__doc__)
    parser.add_argument("--bodies", type=int, default=100_000, help="of each face; default 100000")
    parser.add_argument("--face", choices=("rest", "rpc"), help="one face instead of both")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    offending = Path(tempfile.gettempdir()) / f"sesame-offending-{os.getpid()}"
    harmed = False
    for face in (options.face,) if options.face else ("rest", "rpc"):
        result = fuzzed(face, options.bodies, options.seed, offending)
        harmed = harmed or bool(result.harm())
        print(f"{face}: {options.bodies} bodies, {options.bodies / result.seconds:.0f}/s, ", end="")
        print(f"+{result.growth_bytes / MIB:.0f} MiB; harm: {'; '.join(result.harm()) or 'none'}")
        print(
            *(f"  {count:7} {outcome}" for outcome, count in result.said.outcomes.most_common()), sep="\n", flush=True
        )
    return 1 if harmed else 0


if __name__ == "__main__":
    try:
        code = main()
    except KeyboardInterrupt:
        code = 130
    sys.stdout.flush()
    os._exit(code)  # gRPC's own threads are not waited for
