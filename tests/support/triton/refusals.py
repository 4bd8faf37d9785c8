"""Refusals: what a client of Triton is told of requests that cannot be answered."""

from typing import Any

from tests.support.triton.sender import Sender


class Refusals:
    """Each public method is one result."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def unknown_model(self) -> Any:
        return await self._sender.error(model="nope")

    async def unknown_version(self) -> Any:
        return await self._sender.error(model_version="9")

    async def unknown_input(self) -> Any:
        return await self._sender.error([self._sender.input("nope", self._sender.pixels)])

    async def unknown_output(self) -> Any:
        return await self._sender.error(outputs=[self._sender.module.InferRequestedOutput("nope")])

    async def both_inputs(self) -> Any:
        return await self._sender.error([self._sender.image(), self._sender.input("pixels", self._sender.pixels)])

    async def wrong_shape(self) -> Any:
        return await self._sender.error([self._sender.input("pixels", self._sender.pixels[:, 1:])])

    async def no_photo(self) -> Any:
        return await self._sender.error([self._sender.image(b"no photo")])
