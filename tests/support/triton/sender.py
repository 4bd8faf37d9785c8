"""Sender: one of the four clients of `tritonclient`, and the photos that are sent with it."""

import importlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException

MODEL, OUTPUT, BEST = "demo", "probabilities", 5


async def value(found: Any) -> Any:
    """Of a call of either kind of client: the asynchronous ones give something to wait for."""
    return await found if inspect.isawaitable(found) else found


class Sender:
    """`folder` is what `__main__` says. Without `inputs` all photos are sent."""

    def __init__(self, module: str, address: str, folder: Path) -> None:
        self.module = importlib.import_module(f"tritonclient.{module}")
        self.is_http, self.is_async = module.startswith("http"), module.endswith("aio")
        self.client = self.module.InferenceServerClient(address)
        self.photos = [path.read_bytes() for path in sorted(folder.glob("photo-*"))]
        self.pixels = np.load(folder / "pixels.npy")
        self.shared_memory = (folder / "shared_memory").read_text()
        self.headers = {"authorization": f"Bearer {(folder / 'token').read_text()}"}

    async def infer(self, inputs: Any = None, *, model: str = MODEL, **options: Any) -> Any:
        return await value(self.client.infer(model, inputs or [self.image()], **options))

    async def error(self, inputs: Any = None, **options: Any) -> Any:
        try:
            await self.infer(inputs, **options)
        except InferenceServerException as error:
            return refusal(error)
        return None

    async def is_ready(self, model: str) -> bool:
        try:
            return bool(await value(self.client.is_model_ready(model)))
        except InferenceServerException:  # gRPC: NOT_FOUND
            return False

    def image(self, *photos: bytes, shape: tuple[int, ...] = (-1, 1)) -> Any:
        return self.input("image", np.array(photos or self.photos, dtype=np.object_).reshape(shape))

    def input(self, name: str, values: Any, **options: Any) -> Any:
        datatype = "BYTES" if values.dtype == np.object_ else "UINT8"
        tensor = self.module.InferInput(name, values.shape, datatype)
        tensor.set_data_from_numpy(values, **options)
        return tensor


def best(result: Any) -> Any:
    """The indexes of the best classes of each photo, the best first."""
    return order(result.as_numpy(OUTPUT))


def order(probabilities: Any) -> Any:
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :BEST].tolist()


def refusal(error: InferenceServerException) -> list[str]:
    """Its status and what it says."""
    return [str(error.status()), str(error.message())]
