"""Does with one of the four clients of `tritonclient` all that tests ask for, and writes what came of it as JSON.

Arguments: the client's module ("http", "http.aio", "grpc", "grpc.aio"), its server's address, and a folder with
`photo-N` (encoded files), `pixels.npy` (the same photos decoded), `token` (an operator's) and `shared_memory` (how its
names begin). A result is a list of the best classes of each photo, or whatever the test of that name compares;
`{"error": …}` where the client raised.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tests.support.triton.channels import Channels
from tests.support.triton.control import Control
from tests.support.triton.inferences import Inferences
from tests.support.triton.refusals import Refusals
from tests.support.triton.sender import Sender, value


async def results(module: str, address: str, folder: Path) -> dict[str, Any]:
    sender = Sender(module, address, folder)
    found: dict[str, Any] = {}
    for part in (Inferences(sender), Refusals(sender), Control(sender), Channels(sender)):
        for name in vars(type(part)):
            if name.startswith("_"):
                continue
            try:
                found[name] = await getattr(part, name)()
            except Exception as error:  # told to the test of that name: the others still have theirs
                found[name] = {"error": f"{type(error).__name__}: {error}"}
    await value(sender.client.close())
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(results(sys.argv[1], sys.argv[2], Path(sys.argv[3])))))
