"""Ray Serve: a replica decodes and runs the network on batches (`serve.batch`)."""

import asyncio
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from bench.peers.servers.classifier import MAX_BATCH, PORT, ROUTE, WORKERS, Classifier, Picture, decode


@serve.deployment(num_replicas=WORKERS, max_ongoing_requests=2 * MAX_BATCH, logging_config={"enable_access_log": False})
class Api:
    def __init__(self) -> None:
        self._classifier = Classifier()

    @serve.batch(max_batch_size=MAX_BATCH)
    async def infer(self, pictures: list[Picture]) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self._classifier.answers, pictures)

    async def __call__(self, request: Request) -> Any:
        encoded = await request.body()
        return await self.infer(await asyncio.to_thread(decode, encoded))


if __name__ == "__main__":
    ray.init(include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Api.bind(), route_prefix=ROUTE, blocking=True)  # type: ignore[attr-defined]
