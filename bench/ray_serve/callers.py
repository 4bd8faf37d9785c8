"""Callers: so many clients that each send a photo as soon as the last was answered, and note every answer."""

import asyncio
import io
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from PIL import Image

_ANSWER_S = 60.0
_SMALL = 96  # pixels: the side of a photo


@dataclass(frozen=True)
class Answer:
    """`status`: 0 where the connection ended without one. `by`: "sesame" where the body has its error code, else "ray".
    Times are on the monotonic clock.
    """

    began_s: float
    ended_s: float
    status: int
    retry_after: str
    by: str
    body: str


class Callers:
    """They call until `leave`; the answers are then in `answers`."""

    def __init__(self, url: str, body: bytes, count: int, content_type: str = "image/jpeg") -> None:
        self.answers: list[Answer] = []
        self._url, self._body = f"{url}/classify", body
        self._headers = {"Content-Type": content_type}
        self._leaving = False
        self._count = count

    async def __aenter__(self) -> "Callers":
        limits = httpx.Limits(max_connections=self._count, max_keepalive_connections=self._count)
        self._client = httpx.AsyncClient(timeout=_ANSWER_S, limits=limits)
        self._tasks = [asyncio.create_task(self._call()) for _ in range(self._count)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Returns when each has its last answer."""
        self._leaving = True
        await asyncio.gather(*self._tasks)
        await self._client.aclose()

    async def _call(self) -> None:
        while not self._leaving:
            began_s = time.monotonic()
            try:
                answer = await self._client.post(self._url, content=self._body, headers=self._headers)
            except httpx.TransportError as error:
                self.answers.append(Answer(began_s, time.monotonic(), 0, "", "", type(error).__name__))
                continue
            by = "" if answer.is_success else ("sesame" if "problem" in answer.headers["content-type"] else "ray")
            retry_after = answer.headers.get("retry-after", "")
            self.answers.append(
                Answer(began_s, time.monotonic(), answer.status_code, retry_after, by, answer.text[:200])
            )


def by_status(answers: Iterable[Answer]) -> dict[str, int]:
    """How many there were of each status, with who refused and the value of Retry-After."""
    words = (
        " ".join(filter(None, (str(each.status), each.by, each.retry_after and f"Retry-After {each.retry_after}")))
        for each in answers
    )
    return dict(sorted(Counter(words).items()))


def small_photos(photo: Path, count: int) -> tuple[bytes, str]:
    """A form with so many photos of a few kilobytes, and its content type: a request that keeps the replica busy for
    longer than the proxy. No two photos are equal, or they would be computed once.
    """
    with Image.open(photo) as opened:
        small = io.BytesIO()
        opened.convert("RGB").resize((_SMALL, _SMALL)).save(small, "JPEG")
    head = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n'
    parts = [b"%s%s%d\r\n" % (head, small.getvalue(), number) for number in range(count)]
    return b"".join(parts) + b"--x--\r\n", "multipart/form-data; boundary=x"


def failed(answers: Sequence[Answer]) -> list[Answer]:
    return [each for each in answers if each.status != httpx.codes.OK]
