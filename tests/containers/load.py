"""Load: clients of both faces that ask without a pause while the stack is taken down, and count their answers."""

import asyncio
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Self

from server.pb.sesame.v1 import classifier_pb2 as pb
from tests.attacks.attack import Target
from tests.attacks.photos import made, number
from tests.attacks.wire import senders
from tests.attacks.wire.http1 import Connection, post

_REST, _RPC = 8, 4
_AGAIN_S = 0.05


class Load:
    """Runs in a thread of its own while the context is entered. `told` counts outcomes: an HTTP status, OK or a code of
    gRPC, or "no answer" where the connection ended without one.
    """

    def __init__(self, http_port: int, grpc_port: int) -> None:
        self.told: Counter[str] = Counter()
        self._target = Target(http_port, grpc_port, "both", 0)
        self._photo = made(64, 64, 0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def answered(self) -> int:
        return self.told["200"] + self.told["OK"]

    def until_answered(self, count: int, limit_s: float) -> bool:
        end_s = time.monotonic() + limit_s
        while self.answered < count and time.monotonic() < end_s:
            time.sleep(_AGAIN_S)
        return self.answered >= count

    async def _run(self) -> None:
        await asyncio.gather(*(self._rest() for _ in range(_REST)), *(self._rpc() for _ in range(_RPC)))

    async def _rest(self) -> None:
        while not self._ended.is_set():
            try:
                connection = await Connection.open(self._target.http_port)
            except OSError:  # nobody listens
                await asyncio.sleep(_AGAIN_S)
                continue
            try:
                await self._keep_asking(connection)
            except (OSError, EOFError):
                self.told["no answer"] += 1
            finally:
                connection.close()

    async def _keep_asking(self, connection: Connection) -> None:
        while not self._ended.is_set():
            answer = await connection.ask(*post("/classify", [self._photo, number()]))
            self.told[str(answer.status)] += 1
            if answer.last:
                return

    async def _rpc(self) -> None:
        async with senders.stub(self._target) as stub:
            while not self._ended.is_set():
                outcome = await senders.call(stub, pb.ClassifyRequest(image=self._photo + number()))
                self.told[outcome] += 1
                if outcome != "OK":
                    await asyncio.sleep(_AGAIN_S)
