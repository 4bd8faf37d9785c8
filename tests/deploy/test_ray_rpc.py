"""Calls from Ray's gRPC proxy through the handlers of the gRPC face."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest

from deploy.ray_rpc import SERVICE, Aborted, add_classifier, answer, answers
from server.lifecycle import Phase
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.rpc.calls import Handler
from tests.support.embedded import embedded
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio


class Context:
    """Keeps what a call sets, as Ray's does."""

    def __init__(self) -> None:
        self.code: grpc.StatusCode | None = None
        self.details = ""
        self.trailers: dict[str, str] = {}

    def peer(self) -> str:
        return "ipv4:127.0.0.1:5000"

    def multiplexed_model_id(self) -> str | None:
        return None

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return ()

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str]]) -> None:
        self.trailers = dict(trailing_metadata)


async def test_a_photo_is_classified(demo: Path) -> None:
    async with embedded(demo.parents[1]) as server:
        handlers, context = server.parts.rpc.handlers(SERVICE.full_name), Context()
        request = pb.ClassifyRequest(image=jpeg(), id="mine").SerializeToString()
        found = await answer(handlers["Classify"], request, context, pb.ClassifyResponse)
        assert isinstance(found, pb.ClassifyResponse)
        assert (found.id, found.model, len(found.predictions), context.code) == ("mine", "demo", 5, None)


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"\xff", grpc.StatusCode.INVALID_ARGUMENT, "malformed"),
        (pb.ClassifyRequest(image=b"x").SerializeToString(), grpc.StatusCode.INVALID_ARGUMENT, "unsupported_type"),
        (pb.ClassifyRequest(image=b"x", model="n").SerializeToString(), grpc.StatusCode.NOT_FOUND, "unknown_model"),
    ],
)
async def test_an_error_has_its_status_and_its_code(
    request_bytes: bytes, status: grpc.StatusCode, code: str, demo: Path
) -> None:
    async with embedded(demo.parents[1]) as server:
        handlers, context = server.parts.rpc.handlers(SERVICE.full_name), Context()
        found = await answer(handlers["Classify"], request_bytes, context, pb.ClassifyResponse)
        assert found == pb.ClassifyResponse()
        assert (context.code, context.trailers["sesame-code"]) == (status, code)
        assert context.details


async def test_a_refusal_says_when_to_try_again(demo: Path) -> None:
    async with embedded(demo.parents[1], load=False) as server:
        handlers, context = server.parts.rpc.handlers(SERVICE.full_name), Context()
        request = pb.ClassifyRequest(image=jpeg()).SerializeToString()
        await answer(handlers["Classify"], request, context, pb.ClassifyResponse)
        assert context.code is grpc.StatusCode.UNAVAILABLE
        told = {"sesame-code": "not_ready", "grpc-retry-pushback-ms": "1000"}
        assert told.items() <= context.trailers.items()


async def requests() -> AsyncIterator[bytes]:
    for number in range(3):
        yield pb.ClassifyRequest(image=jpeg(), id=str(number)).SerializeToString()
    yield pb.ClassifyRequest(image=b"x", id="bad").SerializeToString()


async def test_a_stream_answers_each_photo(demo: Path) -> None:
    async with embedded(demo.parents[1]) as server:
        handlers = server.parts.rpc.handlers(SERVICE.full_name)
        found = [each async for each in answers(handlers["ClassifyStream"], requests(), Context())]
        outcomes = {each.id: each.WhichOneof("outcome") for each in found if isinstance(each, pb.StreamResponse)}
        assert outcomes == {"0": "answer", "1": "answer", "2": "answer", "bad": "error"}


async def test_a_stream_that_fails_as_a_whole_sets_its_status(demo: Path) -> None:
    async with embedded(demo.parents[1], receive_bytes=128 << 20) as server:
        server.parts.lifecycle.advance(Phase.LEAVING)
        handlers, context = server.parts.rpc.handlers(SERVICE.full_name), Context()
        await server.parts.rpc.stop(0)
        with pytest.raises(Aborted):
            async for _ in answers(handlers["ClassifyStream"], requests(), context):
                pass
        assert (context.code, context.trailers["sesame-code"]) == (grpc.StatusCode.UNAVAILABLE, "draining")


class Handlers:
    """Takes what would be added to a gRPC server."""

    def __init__(self) -> None:
        self.methods: dict[str, Handler] = {}

    def add_generic_rpc_handlers(self, added: tuple[grpc.GenericRpcHandler, ...]) -> None:
        for handler in added:
            self.methods |= handler._method_handlers  # type: ignore[attr-defined]  # Ray reads it too


def test_rays_proxy_hands_on_every_method_unparsed() -> None:
    handlers = Handlers()
    add_classifier(object(), handlers)  # type: ignore[arg-type]
    assert handlers.methods.keys() == {f"/{SERVICE.full_name}/{method.name}" for method in SERVICE.methods}
    assert all(method.request_deserializer is None for method in handlers.methods.values())
