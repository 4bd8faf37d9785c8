"""Attack: what every attack is, and what it is told by the server."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

MIB = 1 << 20


@dataclass(frozen=True)
class Target:
    """The server's ports, and how long to attack it."""

    http_port: int
    grpc_port: int
    face: str
    seconds: float


@dataclass
class Told:
    """The attacker's outcomes by status or code, and what is wrong with the answers themselves."""

    outcomes: Counter[str] = field(default_factory=Counter)
    complaints: Counter[str] = field(default_factory=Counter)

    def bugs(self) -> int:
        """Answers that no client may cause: 5xx but 503 and 504, and their like in gRPC."""
        return sum(count for outcome, count in self.outcomes.items() if is_bug(outcome))


def is_bug(outcome: str) -> bool:
    if outcome[:1] == "5":
        return outcome[:3] not in ("503", "504")
    said = outcome.removeprefix("item ").removeprefix("stream ")
    return said.startswith(("INTERNAL", "UNKNOWN", "DATA_LOSS", "internal", "engine_failed"))


Send = Callable[[Target, Any, Told], Coroutine[Any, Any, None]]
Once = Callable[[], Awaitable[str]]


@dataclass(frozen=True)
class Attack:
    """`send` attacks with what `prepare` made, before any clock runs, until it is cancelled or `seconds` are over.

    Its docstring says what it sends. `growth_bytes`: how much the server's memory may grow meanwhile; `least_s`: how
    long it must last to show anything.
    """

    name: str
    faces: tuple[str, ...]
    send: Send
    prepare: Callable[[], Any] = lambda: None
    growth_bytes: int = 400 * MIB
    log_unread: bool = False
    least_s: float = 0.0


async def attacked(attack: Attack, target: Target, prepared: Any) -> Told:
    """Attack for the target's seconds; a connection that fails is an outcome, not an error."""
    told = Told()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(target.seconds):
            await attack.send(target, prepared, told)
    return told


async def at_once(*works: Coroutine[Any, Any, None]) -> None:
    """Run all of them; when this is cancelled they are too, and have ended."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def again(told: Told, once: Once, pause_s: float = 0.0) -> None:
    """Do it again and again, count the outcomes, and wait a moment where the server hung up."""
    while True:
        try:
            outcome = await once()
        except (OSError, EOFError, ValueError) as error:
            outcome = type(error).__name__
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            told.outcomes["no answer yet"] += 1
            raise
        told.outcomes[outcome] += 1
        await asyncio.sleep(pause_s)
