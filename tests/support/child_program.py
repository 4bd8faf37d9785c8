"""A child of `parent_program`. Its instructions say how it behaves; it tells on standard output what it does.

It ends with code 0 on SIGTERM, and with the code `ends_with` on SIGUSR1, unless the instructions say otherwise:
`exits` (at once, with this code), `lingers` (after SIGTERM it waits for SIGUSR1), `blocks_loop`, `grandchild` (it has a
child of its own: "group" in its process group, "session" in a session of its own).
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from typing import Any, NoReturn

from server.processes.parent.lifeline import Lifeline

_PAUSE = "import signal; signal.pause()"
_SIGNALS = {signal.SIGTERM, signal.SIGUSR1}


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # one write: lines of several processes do not mix


def work(name: str, instructions: dict[str, Any]) -> NoReturn:
    while True:
        if signal.sigwait(_SIGNALS) is signal.SIGUSR1:
            say(f"{name} ends")
            os._exit(instructions.get("ends_with", 0))
        say(f"{name} leaves")
        if not instructions.get("lingers"):
            os._exit(0)


async def block(lifeline: Lifeline) -> None:
    lifeline.follow(asyncio.get_running_loop())
    signal.sigwait({signal.SIGUSR2})


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    lifeline, given = Lifeline.attach()
    instructions = json.loads(given)
    name = instructions["name"]
    say(f"{name} started {os.getpid()}")
    if "exits" in instructions:
        os._exit(instructions["exits"])
    if kind := instructions.get("grandchild"):
        grandchild = subprocess.Popen(
            [sys.executable, "-c", _PAUSE], stdout=subprocess.DEVNULL, start_new_session=kind == "session"
        )
        say(f"{name} has grandchild {grandchild.pid}")
    lifeline.ready()
    say(f"{name} ready")
    if instructions.get("blocks_loop"):
        asyncio.run(block(lifeline))
    work(name, instructions)


if __name__ == "__main__":
    main()
