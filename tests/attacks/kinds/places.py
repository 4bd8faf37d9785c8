"""Places: callers who take all that there is to be had, and who do not read what they are sent."""

import asyncio
import contextlib
import itertools

import grpc

from server.pb.sesame.v1 import classifier_pb2 as pb
from server.pb.sesame.v1 import classifier_pb2_grpc as pb_grpc
from tests.attacks.attack import Attack, Once, Send, Target, Told, again, at_once
from tests.attacks.photos import made, number, photos
from tests.attacks.wire import http2, senders
from tests.attacks.wire.http1 import Connection, post

_BURST = 3000
_BURST_CONNECTIONS = 4
_NEVER_READ = 50
_READ_BYTES = 4096
_LOGGED = 5000


def _streams(count: int, connections: int) -> Send:
    async def send(target: Target, prepared: object, told: Told) -> None:
        """So many gRPC streams over so many connections; each has more photos to send whatever is answered."""
        async with contextlib.AsyncExitStack() as stack:
            stubs = [await stack.enter_async_context(senders.stub(target)) for _ in range(connections)]
            turns = itertools.cycle(stubs)
            await at_once(*(again(told, lambda: _stream(next(turns), told)) for _ in range(count)))

    return send


async def _stream(stub: pb_grpc.ImageClassifierStub, told: Told) -> str:
    call = stub.ClassifyStream()

    async def write() -> None:
        for photo in itertools.cycle(photos()):
            await call.write(pb.ClassifyRequest(image=photo + number()))

    writing = asyncio.create_task(write())
    try:
        async for answer in call:
            told.outcomes[f"item {answer.error.code or 'OK'}"] += 1
        return "ended"
    except grpc.aio.AioRpcError as error:
        return f"stream {error.code().name}"
    finally:
        writing.cancel()
        call.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def burst(target: Target, photo: bytes, told: Told) -> None:
    """3000 calls at once over four connections, again and again; whoever is refused is told why."""
    async with contextlib.AsyncExitStack() as stack:
        stubs = [await stack.enter_async_context(senders.stub(target)) for _ in range(_BURST_CONNECTIONS)]

        async def once(index: int) -> None:
            outcome = await senders.call(stubs[index % len(stubs)], pb.ClassifyRequest(image=photo + number()))
            told.outcomes[outcome] += 1
            if outcome != "OK" and " " not in outcome:
                told.complaints[f"{outcome} without a code"] += 1

        while True:
            await at_once(*(once(index) for index in range(_BURST)))
            await asyncio.sleep(0.2)


async def resets(target: Target, prepared: object, told: Told) -> None:
    """Calls that are taken back as soon as they have begun, as many as two connections carry."""

    async def once() -> str:
        connection = await http2.Connection.open(target.grpc_port)
        try:
            while not connection.closed.is_set():
                for _ in range(100):
                    connection.reset(connection.begin())
                told.outcomes["reset"] += 100
                await connection.writer.drain()
                await asyncio.sleep(0)
            return "closed"
        finally:
            await connection.close()

    await at_once(*(again(told, once) for _ in range(2)))


async def unread_answers(target: Target, photo: bytes, told: Told) -> None:
    """50 clients that go on sending photos and never read an answer."""
    await at_once(
        *(
            again(told, _unread_rest(target, photo) if target.face == "rest" else _unread_rpc(target, photo))
            for _ in range(_NEVER_READ)
        )
    )


def _unread_rest(target: Target, photo: bytes) -> Once:
    async def once() -> str:
        connection = await Connection.open(target.http_port, _READ_BYTES)
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        try:
            while True:
                await connection.send(*post("/classify?top_k=200", [photo, number()]))
        finally:
            connection.close()

    return once


def _unread_rpc(target: Target, photo: bytes) -> Once:
    async def once() -> str:
        connection = await http2.Connection.open(target.grpc_port, window=0)
        try:
            while not connection.closed.is_set():
                request = pb.ClassifyRequest(image=photo + number(), top_k=200)
                await connection.send(connection.begin(), http2.message(request.SerializeToString()), end=True)
            return "closed"
        finally:
            await connection.close()

    return once


async def unread_log(target: Target, photo: bytes, told: Told) -> None:
    """5000 requests of a server whose log is a pipe that nobody reads."""

    async def client() -> None:
        if target.face == "rpc":
            async with senders.stub(target) as stub:
                await again(told, lambda: senders.call(stub, pb.ClassifyRequest(image=photo + number())))
        connection = await Connection.open(target.http_port)
        try:
            for _ in range(_LOGGED // 8):
                told.outcomes[str((await connection.ask(*post("/classify", [photo, number()]))).status)] += 1
        finally:
            connection.close()

    await at_once(*(client() for _ in range(8)))


def _small() -> bytes:
    return made(64, 64, 0)


ATTACKS = [
    Attack("5 streams on 1", ("rpc",), _streams(5, 1), photos),
    Attack("6 streams on 1", ("rpc",), _streams(6, 1), photos),
    Attack("6 streams on 6", ("rpc",), _streams(6, 6), photos),
    Attack("burst", ("rpc",), burst, _small),
    Attack("resets", ("rpc",), resets),
    Attack("unread answers", ("rest", "rpc"), unread_answers, _small),
    Attack("unread log", ("rest",), unread_log, _small, log_unread=True),
]
