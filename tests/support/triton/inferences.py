"""Inferences: the same photos in every way that a client of Triton can send them and read the answer."""

import asyncio
import base64
from queue import SimpleQueue
from typing import Any

import numpy as np

from tests.support.triton.sender import BEST, MODEL, OUTPUT, Sender, best


class Inferences:
    """Each public method is one result."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def image(self) -> Any:
        return best(await self._sender.infer())

    async def image_of_one_dimension(self) -> Any:
        return best(await self._sender.infer([self._sender.image(shape=(len(self._sender.photos),))]))

    async def pixels(self) -> Any:
        return best(await self._sender.infer([self._sender.input("pixels", self._sender.pixels)]))

    async def mirrored(self) -> Any:
        return best(
            await self._sender.infer(
                [self._sender.input("pixels", np.ascontiguousarray(self._sender.pixels[:, :, ::-1]))]
            )
        )

    async def one_by_one(self) -> Any:
        return [best(await self._sender.infer([self._sender.image(each)]))[0] for each in self._sender.photos]

    async def many_at_once(self) -> Any:
        """Without waiting for one answer before the next request."""
        inputs = [[self._sender.image(each)] for each in self._sender.photos]
        if self._sender.is_async:
            found = await asyncio.gather(*(self._sender.infer(each) for each in inputs))
        elif self._sender.is_http:
            found = [each.get_result() for each in [self._sender.client.async_infer(MODEL, each) for each in inputs]]
        else:
            found = await self._called_back(inputs)
        return [best(each)[0] for each in found]

    async def json(self) -> Any:
        """Tensors as JSON both ways; over gRPC there is none."""
        options = {"binary_data": False} if self._sender.is_http else {}
        output = self._sender.module.InferRequestedOutput(OUTPUT, **options)
        return best(
            await self._sender.infer([self._sender.input("pixels", self._sender.pixels, **options)], outputs=[output])
        )

    async def json_photos(self) -> Any:
        """Over gRPC they are sent as they are."""
        if not self._sender.is_http:
            return await self.image()
        text = np.array([[base64.b64encode(each)] for each in self._sender.photos], dtype=np.object_)
        return best(await self._sender.infer([self._sender.input("image", text, binary_data=False)]))

    async def classification(self) -> Any:
        output = self._sender.module.InferRequestedOutput(OUTPUT, class_count=BEST)
        rows = (await self._sender.infer(outputs=[output])).as_numpy(OUTPUT)
        return [[text.decode() for text in row] for row in rows.reshape(-1, BEST)]

    async def classification_as_json(self) -> Any:
        options = {"binary_data": False} if self._sender.is_http else {}
        output = self._sender.module.InferRequestedOutput(OUTPUT, class_count=BEST, **options)
        rows = (await self._sender.infer(outputs=[output])).as_numpy(OUTPUT)
        return [[text if isinstance(text, str) else text.decode() for text in row] for row in rows.reshape(-1, BEST)]

    async def gzip(self) -> Any:
        return best(await self._sender.infer(**self._compression("gzip")))

    async def deflate(self) -> Any:
        return best(await self._sender.infer(**self._compression("deflate")))

    async def priority_and_timeout(self) -> Any:
        return [best(await self._sender.infer(priority=number, timeout=60_000_000)) for number in (1, 2)]

    async def too_late(self) -> Any:
        return await self._sender.error(timeout=1)

    async def request_id(self) -> Any:
        return [await self._said("id", request_id="número 7"), await self._said("id")]

    async def versions(self) -> Any:
        return [await self._said("model_version", model_version=each) for each in ("1", "2", "")]

    async def _called_back(self, inputs: list[list[Any]]) -> list[Any]:
        came: list[SimpleQueue[tuple[Any, Any]]] = [SimpleQueue() for _ in inputs]
        for queue, each in zip(came, inputs, strict=True):
            self._sender.client.async_infer(MODEL, each, lambda result, error, queue=queue: queue.put((result, error)))
        answers = [queue.get(timeout=60) for queue in came]
        for _, error in answers:
            if error:
                raise error
        return [result for result, _ in answers]

    async def _said(self, field: str, **options: Any) -> Any:
        response = (await self._sender.infer(**options)).get_response()
        return response.get(field) if self._sender.is_http else getattr(response, field)

    def _compression(self, algorithm: str) -> dict[str, str]:
        if self._sender.is_http:
            return {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
        return {"compression_algorithm": algorithm}
