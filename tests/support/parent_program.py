"""A parent of children that do what a test says: `python -m tests.support.parent_program JSON`."""

import asyncio
import json
import logging
import sys
from typing import Any

from server.processes.parent.child import ChildSpec
from server.processes.parent.parent import Parent
from server.processes.parent.supervisor import Limits


def spec(given: dict[str, Any]) -> ChildSpec:
    command = [sys.executable, "-m", "tests.support.child_program"]
    return ChildSpec(
        given["name"], command, instructions=json.dumps(given).encode(), fatal_codes=frozenset(given.get("fatal", ()))
    )


async def main(core: dict[str, Any], fronts: list[dict[str, Any]], limits: dict[str, float]) -> int:
    return await Parent(spec(core), [spec(front) for front in fronts], Limits(**limits)).run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="parent: %(message)s")
    sys.exit(asyncio.run(main(**json.loads(sys.argv[1]))))
