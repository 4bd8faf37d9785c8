"""BentoML: one service, which decodes the photos of a batch and runs the network on them (`batchable`).

Each request is a form with a list of files, here of one, and BentoML joins such lists. With a second service for the
network (`bentoml.depends`) it failed a tenth of the requests over 32 connections, with 500 (BentoML issue 4971).
"""

from pathlib import Path
from typing import Any

import bentoml

from bench.peers.servers.classifier import MAX_BATCH, ROUTE, WORKERS, Classifier, decode


@bentoml.service(workers=WORKERS, logging={"access": {"enabled": False}})
class Api:
    def __init__(self) -> None:
        self._classifier = Classifier()

    @bentoml.api(route=ROUTE, batchable=True, max_batch_size=MAX_BATCH)
    def classify(self, images: list[Path]) -> list[dict[str, Any]]:
        return self._classifier.answers([decode(image.read_bytes()) for image in images])
