"""Exchange: one request and its answer: who asks, and what became of it."""

import random
import re
import time
from dataclasses import dataclass, field

from server.keys.key import Key
from server.trace import Trace

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def request_id(given: str) -> str:
    """The client's own id if it is fit to be one, else a new one."""
    return given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"


MOST_CALLER_ID = 128
"""Characters of a caller's id that count."""


@dataclass(slots=True)
class Exchange:
    """A face makes one when a request begins: an HTTP request, a gRPC call, or one message of a stream. All who work
    on it note here what they did, on the event loop. It never holds images. `Journal.end` reads it.

    `address`: the client's, without the port; empty where it has none, as over a Unix socket. `key`: the client's,
    where the server has keys. `face`: rest or grpc. `method`: GET, POST …, or the full name of a gRPC method; `path`:
    of the URL; `route`: what the path matched. `minor`: it is no work for a network, such as a probe. `status`: HTTP's
    number or the name of gRPC's status; `code`: ok, gone, or an error's. `failed`: how many of its images have no
    answer. `caller_id`: how a proxy in front tells callers apart, as it was sent; "" where it was not.

    Times in `_s` that end in `_at_s` are on the monotonic clock, 0 where it did not come to that; `decode_s`, `queue_s`
    and `infer_s` are those of the slowest image, `batch` is the largest batch.
    """

    request_id: str = ""
    address: str = ""
    trace: Trace | None = None
    face: str = ""
    method: str = ""
    path: str = ""
    route: str = ""
    minor: bool = False
    key: Key | None = None
    caller_id: str = ""
    model: str = ""
    version: str = ""
    status: str = ""
    code: str = ""
    images: int = 0
    failed: int = 0
    batch: int = 0
    began_at_s: float = field(default_factory=time.monotonic)
    received_at_s: float = 0.0
    answered_at_s: float = 0.0
    ended_at_s: float = 0.0
    decode_s: float = 0.0
    queue_s: float = 0.0
    infer_s: float = 0.0
    explain_s: float = 0.0
    spans: list[tuple[str, float, float]] = field(default_factory=list)
    """Names, beginnings and ends of what this process did for it, if `recorded`."""

    shared: list[Trace] = field(default_factory=list)
    """Where its images were computed, if `recorded` and in other requests for equal images."""

    @property
    def identity(self) -> str:
        """Who asks, as far as versions of an alias share callers."""
        return self.caller_id[:MOST_CALLER_ID] or self.key_name or self.address

    @property
    def recorded(self) -> Trace | None:
        """Its trace, if spans of it are exported."""
        return self.trace if self.trace is not None and self.trace.recorded else None

    @property
    def key_name(self) -> str:
        """The name of the client's key; empty where there are no keys."""
        return self.key.name if self.key else ""

    def computed(self, decode_s: float, queue_s: float, infer_s: float, batch: int) -> None:
        """An image has its answer."""
        if decode_s > self.decode_s:
            self.decode_s = decode_s
        if queue_s > self.queue_s:
            self.queue_s = queue_s
        if infer_s > self.infer_s:
            self.infer_s = infer_s
        if batch > self.batch:
            self.batch = batch
