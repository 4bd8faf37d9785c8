"""Plain FastAPI: no batching; each request runs in a thread of the pool, as FastAPI runs what is not a coroutine."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request

from bench.peers.servers.classifier import ROUTE, Classifier, decode

app = FastAPI()
classifier = Classifier()


async def body(request: Request) -> bytes:
    return await request.body()


@app.post(ROUTE)
def classify(encoded: Annotated[bytes, Depends(body)]) -> dict[str, Any]:
    return classifier.answers([decode(encoded)])[0]
