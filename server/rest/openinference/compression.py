"""Compression: bodies of requests and answers in gzip or deflate (zlib), as clients of the protocol may send them."""

import zlib
from collections.abc import Sequence

from server.errors import Code, ServingError
from server.rest.bodies import UnreadBody

_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_LEAST_BYTES = 1024  # a shorter answer is not made shorter
_LEVEL = 1


def check(encoding: str) -> None:
    """Raises UnreadBody for a Content-Encoding that is not accepted."""
    if encoding not in ("", "identity", *_WINDOW):
        raise UnreadBody(
            Code.UNSUPPORTED_TYPE, f"Content-Encoding '{encoding[:32]}' is not accepted: use gzip, deflate or none."
        )


def inflated(chunks: Sequence[bytes], encoding: str, limit: int) -> bytes:
    """The body as it was before compression. `chunks`: the body in pieces.

    Raises ServingError: MALFORMED, or TOO_LARGE as soon as it has more than `limit` bytes.
    """
    if encoding not in _WINDOW:
        return b"".join(chunks)
    inflater = zlib.decompressobj(_WINDOW[encoding])
    try:
        content = inflater.decompress(b"".join(chunks), limit + 1)
    except zlib.error:
        raise ServingError(
            Code.MALFORMED, f"The body is not {encoding}, though its Content-Encoding says so."
        ) from None
    if len(content) > limit:
        raise ServingError(Code.TOO_LARGE, f"The body is too large when inflated: send at most {limit} bytes.")
    if not inflater.eof or inflater.unused_data:
        raise ServingError(Code.MALFORMED, f"The {encoding} body is truncated, or something follows it.")
    return content


def deflated(content: bytes, accepted: str) -> tuple[bytes, dict[str, str]]:
    """The content compressed as `Accept-Encoding` allows, and the headers that say so."""
    if len(content) < _LEAST_BYTES:
        return content, {}
    offered = [part.partition(";") for part in accepted.lower().split(",")[:8]]
    encoding = next(
        (name.strip() for name, _, q in offered if name.strip() in _WINDOW and q.strip() not in ("q=0", "q=0.0")), None
    )
    if encoding is None:
        return content, {}
    deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW[encoding])
    return deflater.compress(content) + deflater.flush(), {"Content-Encoding": encoding, "Vary": "Accept-Encoding"}
