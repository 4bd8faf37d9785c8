"""LitServe: a worker decodes and runs the network on batches. It takes forms and JSON, no raw body."""

from typing import Any

import litserve
from fastapi import Request

from bench.peers.servers.classifier import MAX_BATCH, PORT, ROUTE, WORKERS, Classifier, Picture, decode


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self._classifier = Classifier()

    def decode_request(self, request: Request) -> Picture:  # a form, despite its type
        return decode(request["images"].file.read())

    def batch(self, inputs: list[Picture]) -> list[Picture]:
        return inputs

    def predict(self, pictures: list[Picture]) -> list[dict[str, Any]]:
        return self._classifier.answers(pictures)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    api = Api(max_batch_size=MAX_BATCH, batch_timeout=0.01, api_path=ROUTE)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=WORKERS).run(
        host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning", access_log=False
    )
