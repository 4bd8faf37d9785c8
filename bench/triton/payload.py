"""Payload: photos as perf_analyzer's `--input-data`, encoded or as pixels, and what a server answers to the pixels."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from bench.triton.perf import Data, Loaded
from bundle.images import Pixels, to_picture
from bundle.manifest import Preprocessing
from server.openinference.tensors import from_elements

LEAST_AGREEMENT = 0.95
"""Two ways to compute the same graph may differ in the last bits, and name another class where two are as good."""

_MAX_PIXELS = 1 << 26
_ANSWER_S = 60.0


class Disagrees(Exception):
    """A server names other classes than Sesame: its speed means nothing."""


def pixels(photos: Sequence[Path], preprocessing: Preprocessing) -> Pixels:
    return np.stack([to_picture(photo.read_bytes(), preprocessing, _MAX_PIXELS) for photo in photos])


def write_images(photos: Sequence[Path], folder: Path) -> Data:
    """The files as they are, one a request. perf_analyzer sends base64 as it is: an element's length belongs to it."""
    elements = [from_elements([photo.read_bytes()]) for photo in photos]
    rows = [{"image": {"b64": base64.b64encode(each).decode(), "shape": [1]}} for each in elements]
    return _written("image", rows, folder)


def write_pixels(pictures: Pixels, folder: Path) -> Data:
    shape = list(pictures.shape[1:])
    rows = [{"pixels": {"b64": base64.b64encode(each.tobytes()).decode(), "shape": shape}} for each in pictures]
    return _written("pixels", rows, folder)


def _written(name: str, rows: Sequence[object], folder: Path) -> Data:
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"data": rows}))
    return Data(name, path)


def best_classes(server: Loaded, model: str, pictures: Pixels) -> NDArray[np.intp]:
    """The first class of each picture, in one request a picture. Raises Disagrees where one is not answered."""
    with httpx.Client(timeout=_ANSWER_S) as client:
        return np.array([_best_class(client, f"{server.url}/v2/models/{model}/infer", each) for each in pictures])


def _best_class(client: httpx.Client, url: str, picture: NDArray[np.uint8]) -> int:
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, *picture.shape]}
    text = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": picture.size}}]}).encode()
    answer = client.post(
        url, content=text + picture.tobytes(), headers={"Inference-Header-Content-Length": str(len(text))}
    )
    if not answer.is_success:
        raise Disagrees(f"Pixels were answered with {answer.status_code}: {answer.text[:200]}")
    return int(np.argmax(answer.json()["outputs"][0]["data"]))


def agreement(found: NDArray[np.intp], sesame: NDArray[np.intp]) -> float:
    """The share of pictures of which both name the same class. Raises Disagrees below LEAST_AGREEMENT."""
    share = float(np.mean(found == sesame))
    if share < LEAST_AGREEMENT:
        raise Disagrees(f"Triton names the class that Sesame names for {share:.0%} of the pictures only.")
    return share
