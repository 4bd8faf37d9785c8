"""Does with one of the four clients of `tritonclient` all that tests ask for, and writes what came of it as JSON.

Arguments: the client's module ("http", "http.aio", "grpc", "grpc.aio"), its server's address, and a folder with
`photo-N` (encoded files), `pixels.npy` (the same photos decoded), `token` (an operator's) and `shared_memory` (how its
names begin). A result is a list of the
best classes of each photo, or whatever the test of that name compares; `{"error": …}` where the client raised.
"""

import asyncio
import base64
import importlib
import inspect
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException, shared_memory

MODEL, OUTPUT, BEST = "demo", "probabilities", 5


async def value(found: Any) -> Any:
    """Of a call of either kind of client: the asynchronous ones give something to wait for."""
    return await found if inspect.isawaitable(found) else found


class Program:
    """One client, and what is sent with it. Each public method is one result."""

    def __init__(self, module: str, address: str, folder: Path) -> None:
        self._module = importlib.import_module(f"tritonclient.{module}")
        self._is_http, self._is_async = module.startswith("http"), module.endswith("aio")
        self._client = self._module.InferenceServerClient(address)
        self._photos = [path.read_bytes() for path in sorted(folder.glob("photo-*"))]
        self._pixels = np.load(folder / "pixels.npy")
        self._shared_memory = (folder / "shared_memory").read_text()
        self._headers = {"authorization": f"Bearer {(folder / 'token').read_text()}"}

    async def image(self) -> Any:
        return best(await self._infer())

    async def image_of_one_dimension(self) -> Any:
        return best(await self._infer([self._image(shape=(len(self._photos),))]))

    async def pixels(self) -> Any:
        return best(await self._infer([self._input("pixels", self._pixels)]))

    async def mirrored(self) -> Any:
        return best(await self._infer([self._input("pixels", np.ascontiguousarray(self._pixels[:, :, ::-1]))]))

    async def one_by_one(self) -> Any:
        return [best(await self._infer([self._image(each)]))[0] for each in self._photos]

    async def many_at_once(self) -> Any:
        """Without waiting for one answer before the next request."""
        inputs = [[self._image(each)] for each in self._photos]
        if self._is_async:
            found = await asyncio.gather(*(self._infer(each) for each in inputs))
        elif self._is_http:
            found = [each.get_result() for each in [self._client.async_infer(MODEL, each) for each in inputs]]
        else:
            found = await self._called_back(inputs)
        return [best(each)[0] for each in found]

    async def json(self) -> Any:
        """Tensors as JSON both ways; over gRPC there is none."""
        options = {"binary_data": False} if self._is_http else {}
        output = self._module.InferRequestedOutput(OUTPUT, **options)
        return best(await self._infer([self._input("pixels", self._pixels, **options)], outputs=[output]))

    async def json_photos(self) -> Any:
        """Over gRPC they are sent as they are."""
        if not self._is_http:
            return await self.image()
        text = np.array([[base64.b64encode(each)] for each in self._photos], dtype=np.object_)
        return best(await self._infer([self._input("image", text, binary_data=False)]))

    async def classification(self) -> Any:
        output = self._module.InferRequestedOutput(OUTPUT, class_count=BEST)
        rows = (await self._infer(outputs=[output])).as_numpy(OUTPUT)
        return [[text.decode() for text in row] for row in rows.reshape(-1, BEST)]

    async def classification_as_json(self) -> Any:
        options = {"binary_data": False} if self._is_http else {}
        output = self._module.InferRequestedOutput(OUTPUT, class_count=BEST, **options)
        rows = (await self._infer(outputs=[output])).as_numpy(OUTPUT)
        return [[text if isinstance(text, str) else text.decode() for text in row] for row in rows.reshape(-1, BEST)]

    async def gzip(self) -> Any:
        return best(await self._infer(**self._compression("gzip")))

    async def deflate(self) -> Any:
        return best(await self._infer(**self._compression("deflate")))

    async def priority_and_timeout(self) -> Any:
        return [best(await self._infer(priority=number, timeout=60_000_000)) for number in (1, 2)]

    async def too_late(self) -> Any:
        return await self._error(timeout=1)

    async def request_id(self) -> Any:
        return [await self._said("id", request_id="número 7"), await self._said("id")]

    async def versions(self) -> Any:
        return [await self._said("model_version", model_version=each) for each in ("1", "2", "")]

    async def unknown_model(self) -> Any:
        return await self._error(model="nope")

    async def unknown_version(self) -> Any:
        return await self._error(model_version="9")

    async def unknown_input(self) -> Any:
        return await self._error([self._input("nope", self._pixels)])

    async def unknown_output(self) -> Any:
        return await self._error(outputs=[self._module.InferRequestedOutput("nope")])

    async def both_inputs(self) -> Any:
        return await self._error([self._image(), self._input("pixels", self._pixels)])

    async def wrong_shape(self) -> Any:
        return await self._error([self._input("pixels", self._pixels[:, 1:])])

    async def no_photo(self) -> Any:
        return await self._error([self._image(b"no photo")])

    async def metadata(self) -> Any:
        """What the server says of itself and of the model, in the words of the protocol."""
        json_of = {} if self._is_http else {"as_json": True}
        server = await value(self._client.get_server_metadata(**json_of))
        model = await value(self._client.get_model_metadata(MODEL, **json_of))
        config = await value(self._client.get_model_config(MODEL, **json_of))
        index = await value(self._client.get_model_repository_index(**json_of))
        return [server, model, config.get("config", config), index if self._is_http else index["models"]]

    async def statistics(self) -> Any:
        """Before and after three images: how many were answered, by version 2."""
        return [await self._answered(), await self._infer(model_version="2") and await self._answered()]

    async def health(self) -> Any:
        asked = [self._client.is_server_live(), self._client.is_server_ready()]
        asked += [self._client.is_model_ready(MODEL), self._client.is_model_ready(MODEL, "2")]
        return [await value(each) for each in asked] + [await self._is_ready("nope")]

    async def not_an_operator(self) -> Any:
        try:
            await value(self._client.unload_model(MODEL))
        except InferenceServerException as error:
            return refusal(error)
        return None

    async def operator(self) -> Any:
        """Unloads and loads another model, and asks each time whether it is ready."""
        await value(self._client.unload_model("other", headers=self._headers))
        gone = await self._is_ready("other")
        await value(self._client.load_model("other", headers=self._headers))
        return [gone, await self._is_ready("other")]

    async def shared_memory(self) -> Any:
        """Pixels from one region, probabilities into another."""
        await value(self._client.unregister_system_shared_memory())
        await value(self._client.unregister_cuda_shared_memory())
        name = f"{self._shared_memory}{self._module.__name__}"
        size_bytes, shape = 4 * 200 * len(self._pixels), (len(self._pixels), 200)
        sent = shared_memory.create_shared_memory_region("in", f"/{name}-in", self._pixels.nbytes)
        back = shared_memory.create_shared_memory_region("out", f"/{name}-out", size_bytes)
        try:
            shared_memory.set_shared_memory_region(sent, [self._pixels])
            await value(self._client.register_system_shared_memory("in", f"/{name}-in", self._pixels.nbytes))
            await value(self._client.register_system_shared_memory("out", f"/{name}-out", size_bytes))
            pixels = self._module.InferInput("pixels", self._pixels.shape, "UINT8")
            pixels.set_shared_memory("in", self._pixels.nbytes)
            output = self._module.InferRequestedOutput(OUTPUT)
            output.set_shared_memory("out", size_bytes)
            assert (await self._infer([pixels], outputs=[output])).get_output(OUTPUT)
            return order(shared_memory.get_contents_as_numpy(back, np.float32, shape))
        finally:
            await value(self._client.unregister_system_shared_memory())
            shared_memory.destroy_shared_memory_region(sent)
            shared_memory.destroy_shared_memory_region(back)

    async def stream(self) -> Any:
        """One request a photo over one gRPC stream, and one that fails between them; HTTP has no streams."""
        if self._is_http:
            return None
        requests = [{"inputs": [self._image(each)]} for each in self._photos]
        requests.insert(1, {"inputs": [self._image(b"no photo")]})
        answers = await (self._streamed if self._is_async else self._streamed_by_callback)(requests)
        return [refusal(error) if error else best(result)[0] for result, error in answers]

    async def close(self) -> None:
        await value(self._client.close())

    async def _streamed(self, requests: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
        async def sent() -> AsyncIterator[dict[str, Any]]:
            for each in requests:
                yield {"model_name": MODEL, **each}

        answers = self._client.stream_infer(sent())
        return [answer async for answer in answers]

    async def _streamed_by_callback(self, requests: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
        came: SimpleQueue[tuple[Any, Any]] = SimpleQueue()
        self._client.start_stream(lambda result, error: came.put((result, error)))
        for each in requests:
            self._client.async_stream_infer(MODEL, **each)
        answers = [came.get(timeout=60) for _ in requests]
        self._client.stop_stream()
        return answers

    async def _called_back(self, inputs: list[list[Any]]) -> list[Any]:
        came: list[SimpleQueue[tuple[Any, Any]]] = [SimpleQueue() for _ in inputs]
        for queue, each in zip(came, inputs, strict=True):
            self._client.async_infer(MODEL, each, lambda result, error, queue=queue: queue.put((result, error)))
        answers = [queue.get(timeout=60) for queue in came]
        for _, error in answers:
            if error:
                raise error
        return [result for result, _ in answers]

    async def _infer(self, inputs: Any = None, *, model: str = MODEL, **options: Any) -> Any:
        return await value(self._client.infer(model, inputs or [self._image()], **options))

    async def _error(self, inputs: Any = None, **options: Any) -> Any:
        try:
            await self._infer(inputs, **options)
        except InferenceServerException as error:
            return refusal(error)
        return None

    async def _said(self, field: str, **options: Any) -> Any:
        response = (await self._infer(**options)).get_response()
        return response.get(field) if self._is_http else getattr(response, field)

    async def _answered(self) -> int:
        options = {} if self._is_http else {"as_json": True}
        (found,) = (await value(self._client.get_inference_statistics(MODEL, "2", **options)))["model_stats"]
        assert len(found["inference_stats"]) == 8
        return int(found.get("inference_count", 0))

    async def _is_ready(self, model: str) -> bool:
        try:
            return bool(await value(self._client.is_model_ready(model)))
        except InferenceServerException:  # gRPC: NOT_FOUND
            return False

    def _image(self, *photos: bytes, shape: tuple[int, ...] = (-1, 1)) -> Any:
        return self._input("image", np.array(photos or self._photos, dtype=np.object_).reshape(shape))

    def _input(self, name: str, values: Any, **options: Any) -> Any:
        datatype = "BYTES" if values.dtype == np.object_ else "UINT8"
        tensor = self._module.InferInput(name, values.shape, datatype)
        tensor.set_data_from_numpy(values, **options)
        return tensor

    def _compression(self, algorithm: str) -> dict[str, str]:
        if self._is_http:
            return {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
        return {"compression_algorithm": algorithm}


def best(result: Any) -> Any:
    """The indexes of the best classes of each photo, the best first."""
    return order(result.as_numpy(OUTPUT))


def order(probabilities: Any) -> Any:
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :BEST].tolist()


def refusal(error: InferenceServerException) -> list[str]:
    """Its status and what it says."""
    return [str(error.status()), str(error.message())]


async def results(module: str, address: str, folder: Path) -> dict[str, Any]:
    program = Program(module, address, folder)
    asked: dict[str, Callable[[], Awaitable[Any]]] = {
        name: getattr(program, name) for name in vars(Program) if not name.startswith("_") and name != "close"
    }
    found: dict[str, Any] = {}
    for name, ask in asked.items():
        try:
            found[name] = await ask()
        except Exception as error:  # told to the test of that name: the others still have theirs
            found[name] = {"error": f"{type(error).__name__}: {error}"}
    await program.close()
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(results(sys.argv[1], sys.argv[2], Path(sys.argv[3])))))
