"""Does with KServe's Python client, over REST and gRPC, what tests ask for, and writes what came of it as JSON.

Arguments: the server's URL, its gRPC address, and a folder with `photo-N` (encoded files) and `pixels.npy` (the same
photos decoded). A result is the best classes of each photo.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

MODEL, OUTPUT, BEST = "demo", "probabilities", 5


class Sent:
    """The same photos as files and as pixels."""

    def __init__(self, folder: Path) -> None:
        self._photos = [path.read_bytes() for path in sorted(folder.glob("photo-*"))]
        self._pixels = np.load(folder / "pixels.npy")

    def image(self, **options: Any) -> Any:
        values = np.array(self._photos, dtype=np.object_).reshape(-1, 1)
        return _request("image", "BYTES", values, **options)

    def pixels(self, **options: Any) -> Any:
        return _request("pixels", "UINT8", self._pixels, **options)


def _request(name: str, datatype: str, values: Any, binary: bool = True) -> Any:
    tensor = InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=binary)
    outputs = [RequestedOutput(OUTPUT, {"binary_data": binary})]
    return InferRequest(model_name=MODEL, infer_inputs=[tensor], request_outputs=outputs)


def _best(response: Any) -> Any:
    (output,) = response.outputs
    return np.argsort(-output.as_numpy(), axis=1, kind="stable")[:, :BEST].tolist()


async def _over_rest(url: str, sent: Sent) -> dict[str, Any]:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    requests = {"image": sent.image(), "pixels": sent.pixels(), "json": sent.pixels(binary=False)}
    found = {name: _best(await client.infer(url, each, model_name=MODEL)) for name, each in requests.items()}
    found["health"] = [
        await client.is_server_live(url),
        await client.is_server_ready(url),
        await client.is_model_ready(url, MODEL),
    ]
    try:
        await client.infer(url, sent.image(), model_name="nope")
    except httpx.HTTPStatusError as error:
        found["unknown"] = str(error)
    await client.close()
    return found


async def _over_grpc(address: str, sent: Sent) -> dict[str, Any]:
    client = InferenceGRPCClient(address)
    requests = {"image": sent.image(), "pixels": sent.pixels(), "json": sent.pixels(binary=False)}
    found = {name: _best(await client.infer(each)) for name, each in requests.items()}
    found["health"] = [
        await client.is_server_live(),
        await client.is_server_ready(),
        await client.is_model_ready(MODEL),
    ]
    await client.close()
    return found


async def _results(url: str, address: str, folder: Path) -> dict[str, Any]:
    sent = Sent(folder)
    return {"rest": await _over_rest(url, sent), "grpc": await _over_grpc(address, sent)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_results(sys.argv[1], sys.argv[2], Path(sys.argv[3])))))
