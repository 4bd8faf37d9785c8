"""Bodies: the photos as requests carry them, raw or as a form, and the best class that a server answers to each."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

LEAST_AGREEMENT = 0.95
"""Sesame's default decoding is not exact to the pixel: of photos that a network is unsure of it may name others."""

_ANSWER_S = 60.0
_AT_ONCE = 8
_BOUNDARY = "e1f0a9f2c57b4d0f"


class Disagrees(Exception):
    """A server names other classes than Sesame: its speed means nothing."""


@dataclass(frozen=True)
class Bodies:
    """Files, each a whole request body."""

    paths: tuple[Path, ...]
    content_type: str = "image/jpeg"

    def post(self, client: httpx.Client, url: str, number: int) -> httpx.Response:
        headers = {"Content-Type": self.content_type}
        return client.post(f"{url}/classify", content=self.paths[number].read_bytes(), headers=headers)

    def best_classes(self, url: str) -> list[int]:
        """The first answer's class index for each photo. Raises Disagrees where one is not answered with 2xx."""
        with httpx.Client(timeout=_ANSWER_S) as client, ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = list(pool.map(lambda number: self.post(client, url, number), range(len(self.paths))))
        for answer in answers:
            if not answer.is_success:
                raise Disagrees(f"A photo was answered with {answer.status_code}: {answer.text[:200]}")
        return [_best_class(answer.json()) for answer in answers]


def _best_class(answer: Any) -> int:
    """BentoML answers a list of photos with a list."""
    first = answer[0] if isinstance(answer, list) else answer
    return int(first["predictions"][0]["index"])


def forms(photos: Sequence[Path], folder: Path) -> Bodies:
    """Writes each photo as the field `images` of a form (RFC 7578) under a folder."""
    for photo in photos:
        head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="{photo.name}"\r\n'
        head += "Content-Type: image/jpeg\r\n\r\n"
        (folder / photo.name).write_bytes(head.encode() + photo.read_bytes() + f"\r\n--{_BOUNDARY}--\r\n".encode())
    return Bodies(tuple(folder / photo.name for photo in photos), f"multipart/form-data; boundary={_BOUNDARY}")


def agreement(name: str, found: Sequence[int], sesame: Sequence[int]) -> float:
    """The share of photos of which both name the same class. Raises Disagrees below LEAST_AGREEMENT."""
    share = sum(ours == theirs for ours, theirs in zip(sesame, found, strict=True)) / len(sesame)
    if share < LEAST_AGREEMENT:
        raise Disagrees(
            f"{name} names the class that Sesame names for {share:.0%} of the photos only, so it does something else. "
            "It was not timed: compare its decoding with bench/peers/servers/classifier.py."
        )
    return share
