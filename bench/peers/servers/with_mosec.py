"""mosec: a process a core decodes, others run the network on batches, as in its example with a ResNet-50."""

from typing import Any

from mosec import Runtime, Server, Worker

from bench.peers.servers.classifier import CORES, MAX_BATCH, ROUTE, WORKERS, Classifier, Picture, decode


class Decode(Worker):
    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: bytes) -> Picture:
        return decode(data)


class Infer(Worker):
    def __init__(self) -> None:
        self._classifier = Classifier()

    def forward(self, data: list[Picture]) -> list[dict[str, Any]]:
        return self._classifier.answers(data)


if __name__ == "__main__":
    server = Server()
    stages = [Runtime(Decode, num=CORES), Runtime(Infer, num=WORKERS, max_batch_size=MAX_BATCH)]
    server.register_runtime({ROUTE: stages})
    server.run()
