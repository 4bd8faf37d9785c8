"""Senders: a photo over either face, once, for its outcome."""

import contextlib
from collections.abc import AsyncIterator

import grpc

from server.pb.sesame.v1 import classifier_pb2 as pb
from server.pb.sesame.v1 import classifier_pb2_grpc as pb_grpc
from tests.attacks.attack import Target
from tests.attacks.ordinary import rpc_outcome
from tests.attacks.photos import number
from tests.attacks.wire import http1
from tests.attacks.wire.http1 import HOST

_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
_PATIENCE_S = 60.0


@contextlib.asynccontextmanager
async def stub(target: Target) -> AsyncIterator[pb_grpc.ImageClassifierStub]:
    """A client over a connection of its own."""
    async with grpc.aio.insecure_channel(f"{HOST}:{target.grpc_port}", options=_OWN_CONNECTION) as channel:
        yield pb_grpc.ImageClassifierStub(channel)  # type: ignore[no-untyped-call]


async def ask(target: Target, photo: bytes, query: str = "") -> str:
    """Send a photo that equals no other over a new connection of the target's face."""
    if target.face == "rpc":
        async with stub(target) as client:
            return await call(client, pb.ClassifyRequest(image=photo + number()))
    return await post(target, http1.post(f"/classify{query}", [photo, number()]))


async def call(client: pb_grpc.ImageClassifierStub, request: pb.ClassifyRequest) -> str:
    try:
        await client.Classify(request, timeout=_PATIENCE_S)
    except grpc.aio.AioRpcError as error:
        return rpc_outcome(error)
    return "OK"


async def post(target: Target, request: list[bytes]) -> str:
    """Send a request over a new connection; its status."""
    connection = await http1.Connection.open(target.http_port)
    try:
        return str((await connection.ask(*request)).status)
    finally:
        connection.close()
