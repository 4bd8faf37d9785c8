"""Channels: tensors in shared memory, and requests over one gRPC stream."""

from collections.abc import AsyncIterator
from queue import SimpleQueue
from typing import Any

import numpy as np
from tritonclient.utils import shared_memory

from tests.support.triton.sender import MODEL, OUTPUT, Sender, best, order, refusal, value

_CLASSES = 200  # of the demo


class Channels:
    """Each public method is one result."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def shared_memory(self) -> Any:
        """Pixels from one region, probabilities into another."""
        client, pixels, name = self._sender.client, self._sender.pixels, self._sender.shared_memory
        await value(client.unregister_system_shared_memory())
        await value(client.unregister_cuda_shared_memory())
        size_bytes = 4 * _CLASSES * len(pixels)
        sent = shared_memory.create_shared_memory_region("in", f"/{name}in", pixels.nbytes)
        back = shared_memory.create_shared_memory_region("out", f"/{name}out", size_bytes)
        try:
            shared_memory.set_shared_memory_region(sent, [pixels])
            await value(client.register_system_shared_memory("in", f"/{name}in", pixels.nbytes))
            await value(client.register_system_shared_memory("out", f"/{name}out", size_bytes))
            assert (await self._between("in", "out", size_bytes)).get_output(OUTPUT)
            return order(shared_memory.get_contents_as_numpy(back, np.float32, (len(pixels), _CLASSES)))
        finally:
            await value(client.unregister_system_shared_memory())
            shared_memory.destroy_shared_memory_region(sent)
            shared_memory.destroy_shared_memory_region(back)

    async def _between(self, sent: str, back: str, size_bytes: int) -> Any:
        """An inference from one region into another."""
        pixels = self._sender.module.InferInput("pixels", self._sender.pixels.shape, "UINT8")
        pixels.set_shared_memory(sent, self._sender.pixels.nbytes)
        output = self._sender.module.InferRequestedOutput(OUTPUT)
        output.set_shared_memory(back, size_bytes)
        return await self._sender.infer([pixels], outputs=[output])

    async def stream(self) -> Any:
        """One request a photo over one gRPC stream, and one that fails between them; HTTP has no streams."""
        if self._sender.is_http:
            return None
        requests = [{"inputs": [self._sender.image(each)]} for each in self._sender.photos]
        requests.insert(1, {"inputs": [self._sender.image(b"no photo")]})
        answers = await (self._streamed if self._sender.is_async else self._streamed_by_callback)(requests)
        return [refusal(error) if error else best(result)[0] for result, error in answers]

    async def _streamed(self, requests: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
        async def sent() -> AsyncIterator[dict[str, Any]]:
            for each in requests:
                yield {"model_name": MODEL, **each}

        answers = self._sender.client.stream_infer(sent())
        return [answer async for answer in answers]

    async def _streamed_by_callback(self, requests: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
        came: SimpleQueue[tuple[Any, Any]] = SimpleQueue()
        self._sender.client.start_stream(lambda result, error: came.put((result, error)))
        for each in requests:
            self._sender.client.async_stream_infer(MODEL, **each)
        answers = [came.get(timeout=60) for _ in requests]
        self._sender.client.stop_stream()
        return answers
