"""Classifier: what users of a general server write themselves, a photo decoded with Pillow and ONNX Runtime run on it.

The graph is a bundle's: it normalises (n, h, w, 3) uint8 pixels itself and ends in probabilities. Resize and crop are
rounded as in torchvision.
"""

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

ROUTE = "/classify"
MAX_BATCH = 32
CORES = int(os.environ["PEER_CORES"])
WORKERS = int(os.environ["PEER_WORKERS"])  # processes that run the network; they share the cores
PORT = int(os.environ["PEER_PORT"])

_SIZE, _RESIZE_TO = int(os.environ["PEER_SIZE"]), int(os.environ["PEER_RESIZE_TO"])
_RESAMPLING = Image.Resampling[os.environ["PEER_INTERPOLATION"].upper()]
_BEST = 5

Picture = NDArray[np.uint8]  # (height, width, 3)


def decode(encoded: bytes) -> Picture:
    with Image.open(io.BytesIO(encoded)) as image:
        photo = image.convert("RGB")
    scale = _RESIZE_TO / min(photo.size)
    width, height = (max(_RESIZE_TO, int(side * scale)) for side in photo.size)
    left, top = round((width - _SIZE) / 2), round((height - _SIZE) / 2)
    resized = photo.resize((width, height), _RESAMPLING)
    return np.asarray(resized.crop((left, top, left + _SIZE, top + _SIZE)))


class Classifier:
    """The network in one session of ONNX Runtime, with this worker's part of the cores."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, CORES // WORKERS)
        self._session = onnxruntime.InferenceSession(
            os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def answers(self, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
        """One for each picture, from one run."""
        rows = self._session.run(None, {self._input: np.stack(pictures)})[0]
        return [_answer(row) for row in rows]


def _answer(row: NDArray[np.float32]) -> dict[str, Any]:
    best = np.argsort(row)[: -_BEST - 1 : -1]
    return {"predictions": [{"index": int(index), "probability": float(row[index])} for index in best]}
