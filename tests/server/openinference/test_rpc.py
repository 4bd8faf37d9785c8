"""The Open Inference Protocol over gRPC: what its clients send and read, without their code."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from bundle.files import read
from bundle.images import to_picture
from server.openinference.tensors import elements, from_elements
from server.pb.inference import grpc_service_pb2 as pb
from server.pb.inference import grpc_service_pb2_grpc as pb_grpc
from tests.support.faces import Running, held, running
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio
TOKEN = "0123456789abcdef"
Input = pb.ModelInferRequest.InferInputTensor
Output = pb.ModelInferRequest.InferRequestedOutputTensor


@pytest.fixture(scope="module")
async def server(demo: Path) -> AsyncIterator[Running]:
    async with running(demo.parents[1], admin_token=TOKEN, exact_pixels=True) as server:
        yield server


def stub(server: Running) -> Any:
    return pb_grpc.GRPCInferenceServiceStub(server.rpc.channel)  # type: ignore[no-untyped-call]


def photos(*files: bytes, **more: Any) -> pb.ModelInferRequest:
    given = Input(name="image", datatype="BYTES", shape=[len(files), 1])
    return pb.ModelInferRequest(model_name="demo", inputs=[given], raw_input_contents=[from_elements(files)], **more)


def best(response: pb.ModelInferResponse) -> list[list[int]]:
    (output,) = response.outputs
    assert (output.name, output.datatype) == ("probabilities", "FP32")
    rows = np.frombuffer(response.raw_output_contents[0], "<f4").reshape(list(output.shape))
    return [[int(index) for index in order[:5]] for order in np.argsort(-rows, axis=1, kind="stable")]


async def expected(server: Running, count: int = 1) -> list[list[int]]:
    return [(await server.rpc.classify(jpeg(number))).indexes for number in range(count)]


async def test_files_get_what_classify_says(server: Running) -> None:
    raw = await stub(server).ModelInfer(photos(jpeg(0), jpeg(1), id="x"))
    assert (raw.model_name, raw.model_version, raw.id) == ("demo", "1", "x")
    assert best(raw) == await expected(server, 2)
    typed = photos(jpeg(0))
    del typed.raw_input_contents[:]
    typed.inputs[0].contents.bytes_contents.append(jpeg(0))
    assert best(await stub(server).ModelInfer(typed)) == await expected(server)


async def test_pixels_are_what_the_network_sees(server: Running, demo: Path) -> None:
    pixels = to_picture(jpeg(0), read(demo).manifest.preprocessing, 10**6)[np.newaxis]
    given = Input(name="pixels", datatype="UINT8", shape=pixels.shape)
    raw = pb.ModelInferRequest(model_name="demo", inputs=[given], raw_input_contents=[pixels.tobytes()])
    assert best(await stub(server).ModelInfer(raw)) == await expected(server)
    given.contents.uint_contents.extend(pixels.ravel().tolist())
    typed = pb.ModelInferRequest(model_name="demo", inputs=[given])
    assert best(await stub(server).ModelInfer(typed)) == await expected(server)


async def test_classes_come_as_text(server: Running) -> None:
    wanted = Output(name="probabilities")
    wanted.parameters["classification"].int64_param = 5
    response = await stub(server).ModelInfer(photos(jpeg(0), outputs=[wanted]))
    assert (response.outputs[0].datatype, list(response.outputs[0].shape)) == ("BYTES", [1, 5])
    texts = elements(response.raw_output_contents[0], 5, "probabilities")
    assert [[int(text.split(b":")[1]) for text in texts]] == await expected(server)


async def test_a_stream_answers_each_request_and_a_bad_one_ends_nothing(server: Running) -> None:
    files = {"0": jpeg(0), "1": b"GIF89a", "2": jpeg(1)}

    async def requests() -> AsyncIterator[pb.ModelInferRequest]:
        for name, file in files.items():
            yield photos(file, id=name)
        yield pb.ModelInferRequest(model_name="nope", id="3")

    answers = {}
    async for answer in stub(server).ModelStreamInfer(requests()):
        answers[answer.infer_response.id] = answer
    assert sorted(answers) == ["0", "1", "2", "3"]
    assert [bool(answers[name].error_message) for name in sorted(answers)] == [False, True, False, True]
    assert [best(answers[name].infer_response)[0] for name in ("0", "2")] == await expected(server, 2)
    assert await server.metric("sesame_receiving_bytes") == 0


async def test_a_stream_answers_in_the_order_of_its_requests(demo: Path) -> None:
    async with held(demo) as (server, engine):

        async def requests() -> AsyncIterator[pb.ModelInferRequest]:
            for number, file in enumerate((jpeg(0), b"GIF89a", jpeg(1))):
                yield photos(file, id=str(number))

        call = stub(server).ModelStreamInfer(requests())
        reading = asyncio.create_task(call.read())
        await server.until("sesame_permits_taken", 2)
        while await server.metric("sesame_requests_total", "unsupported_type") != 1:
            await asyncio.sleep(0)
        assert not reading.done()  # the second one is answered, and waits for the first
        engine.gate.release(10)
        answers = [await reading, await call.read(), await call.read()]
        assert [answer.infer_response.id for answer in answers] == ["0", "1", "2"]
        assert [bool(answer.error_message) for answer in answers] == [False, True, False]


async def test_what_the_server_and_the_model_say_of_themselves(server: Running) -> None:
    calls = stub(server)
    assert (await calls.ServerLive(pb.ServerLiveRequest())).live
    assert (await calls.ServerReady(pb.ServerReadyRequest())).ready
    assert (await calls.ModelReady(pb.ModelReadyRequest(name="demo", version="1"))).ready
    assert "statistics" in (await calls.ServerMetadata(pb.ServerMetadataRequest())).extensions
    metadata = await calls.ModelMetadata(pb.ModelMetadataRequest(name="demo"))
    assert {each.name: list(each.shape) for each in metadata.inputs} == {"image": [-1, 1], "pixels": [-1, 64, 64, 3]}
    config = (await calls.ModelConfig(pb.ModelConfigRequest(name="demo"))).config
    assert [(each.name, each.optional, list(each.dims)) for each in config.input] == [
        ("image", True, [1]),
        ("pixels", True, [64, 64, 3]),
    ]
    (found,) = (await calls.RepositoryIndex(pb.RepositoryIndexRequest(ready=True))).models
    assert (found.name, found.version, found.state) == ("demo", "1", "READY")


async def outcome(call: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code().name, str(dict(error.value.trailing_metadata() or ()).get("sesame-code", ""))


async def test_what_cannot_be_done_has_a_status(server: Running) -> None:
    calls = stub(server)
    assert await outcome(calls.ModelMetadata(pb.ModelMetadataRequest(name="nope"))) == ("NOT_FOUND", "unknown_model")
    assert await outcome(calls.ModelInfer(pb.ModelInferRequest(model_name="demo"))) == ("INVALID_ARGUMENT", "malformed")
    assert await outcome(calls.ModelInfer(photos(b"GIF89a"))) == ("INVALID_ARGUMENT", "unsupported_type")
    load = pb.RepositoryModelLoadRequest(model_name="demo")
    assert await outcome(calls.RepositoryModelLoad(load)) == ("PERMISSION_DENIED", "forbidden")
    register = pb.SystemSharedMemoryRegisterRequest(name="a", key="/a", byte_size=1)
    assert await outcome(calls.SystemSharedMemoryRegister(register)) == ("PERMISSION_DENIED", "forbidden")
    cuda = pb.CudaSharedMemoryRegisterRequest(name="a", byte_size=1)
    assert await outcome(calls.CudaSharedMemoryRegister(cuda)) == ("INVALID_ARGUMENT", "malformed")
    await calls.CudaSharedMemoryUnregister(pb.CudaSharedMemoryUnregisterRequest())
    assert not (await calls.CudaSharedMemoryStatus(pb.CudaSharedMemoryStatusRequest())).regions


@pytest.mark.parametrize("raw", [[], [b"", b""], [b"\xff\xff\xff\xff"], [b"\0"], [from_elements([b"a", b"b"])]])
async def test_tensors_that_do_not_add_up_are_refused(server: Running, raw: list[bytes]) -> None:
    request = photos(jpeg(0))
    del request.raw_input_contents[:]
    request.raw_input_contents.extend(raw)
    assert await outcome(stub(server).ModelInfer(request)) == ("INVALID_ARGUMENT", "malformed")


async def test_bytes_that_are_no_message_are_refused(server: Running) -> None:
    call: Any = server.rpc.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    assert await outcome(call(b"\xff" * 100)) == ("INVALID_ARGUMENT", "malformed")


async def test_operators_load_and_unload(server: Running) -> None:
    operator = (("authorization", f"Bearer {TOKEN}"),)
    calls = stub(server)
    unload = pb.RepositoryModelUnloadRequest(model_name="demo")
    await calls.RepositoryModelUnload(unload, metadata=operator)
    assert not (await calls.ModelReady(pb.ModelReadyRequest(name="demo"))).ready
    load = pb.RepositoryModelLoadRequest(model_name="demo")
    await calls.RepositoryModelLoad(load, metadata=operator)
    assert (await calls.ModelReady(pb.ModelReadyRequest(name="demo"))).ready


async def test_the_time_limit_of_a_request_holds(demo: Path) -> None:
    async with held(demo) as (server, _):
        request = photos(jpeg(0))
        request.parameters["timeout"].int64_param = 50_000
        assert (await outcome(stub(server).ModelInfer(request)))[0] == "DEADLINE_EXCEEDED"
