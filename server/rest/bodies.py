"""Bodies: the photos in a request, in whichever of the accepted forms they come."""

import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fastapi import Request
from python_multipart.multipart import parse_options_header

from server.errors import Code, ServingError
from server.receiving import Receipt
from server.rest import multipart
from server.service import Limits

_RAW_TYPES = ("", "application/octet-stream", "application/x-www-form-urlencoded")
"""Besides image/*: no type, any bytes, and what curl's --data-binary says of itself."""

_FIELDS = 16  # more commas than JSON's other fields need
_TYPE_BYTES = 1 << 10  # of a Content-Type: parsing it takes longer than its length says
_AT_ONCE_BYTES = 1 << 20  # a larger body is taken apart in a thread


@dataclass(frozen=True)
class Body:
    """Photos, whether the answer is a list, and what a JSON body says besides (the query wins over it)."""

    photos: list[bytes]
    many: bool
    fields: dict[str, Any] = field(default_factory=dict)


class Unread(ServingError):
    """The request is refused before its body was read to its end: its connection cannot be used again."""

    @classmethod
    def of(cls, error: ServingError) -> "Unread":
        return cls(error.code, error.detail, error.retry_after_s)


Aside = Callable[[Callable[[], Body]], Awaitable[Body]]
"""Runs a function in a thread."""


async def read_body(request: Request, limits: Limits, receipt: Receipt, aside: Aside) -> Body:
    """Read and take apart a request's body. `receipt` counts its bytes as they come.

    Raises ServingError where it is too large, of no accepted type or malformed, and Unread where that was found before
    its end; starlette's ClientDisconnect where the caller leaves.
    """
    limit, parse = _form(request.headers.get("content-type", ""), limits)
    chunks = await _chunks(request, limit, receipt)
    if receipt.bytes > _AT_ONCE_BYTES:
        return await aside(lambda: parse(b"".join(chunks)))
    return parse(b"".join(chunks))


def _form(content_type: str, limits: Limits) -> tuple[int, Callable[[bytes], Body]]:
    """The most bytes that a body of this type may have, and what takes it apart."""
    kind, options = "", dict[bytes, bytes]()
    if len(content_type) <= _TYPE_BYTES:
        parsed, options = parse_options_header(content_type)
        kind = parsed.decode("latin-1").lower()
    if kind == "multipart/form-data":
        return limits.max_request_bytes, partial(_multipart, options.get(b"boundary", b""), limits.max_images)
    if kind == "application/json" or kind.endswith("+json"):
        return limits.max_request_bytes, partial(_json, limits.max_images)
    if (kind in _RAW_TYPES and len(content_type) <= _TYPE_BYTES) or kind.startswith("image/"):
        return limits.max_image_bytes, _raw
    raise Unread(
        Code.UNSUPPORTED_TYPE,
        f"Content-Type '{content_type[:64]}' is not accepted: send image/*, application/octet-stream, "
        "multipart/form-data or application/json.",
    )


async def _chunks(request: Request, limit: int, receipt: Receipt) -> Sequence[bytes]:
    """The body in the pieces in which it came; Unread as soon as its length, said or counted, exceeds the limit."""
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > limit:
        raise _too_large(limit)
    chunks = []
    async for chunk in request.stream():
        try:
            receipt.grow(len(chunk))
        except ServingError as error:
            raise Unread.of(error) from None
        if receipt.bytes > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return chunks


def _too_large(limit: int) -> Unread:
    return Unread(Code.TOO_LARGE, f"The body is too large: send at most {limit} bytes.")


def _raw(body: bytes) -> Body:
    if not body:
        raise ServingError(Code.MALFORMED, "The body is empty: send a photo in it.")
    return Body([body], many=False)


def _multipart(boundary: bytes, max_images: int, body: bytes) -> Body:
    return Body(multipart.files(body, boundary, max_images), many=True)


def _json(max_images: int, body: bytes) -> Body:
    if body.count(b",") > max_images + _FIELDS:  # base64 has none; parsing millions of values would stop the server
        raise ServingError(Code.MALFORMED, f"Too many values in one request: send at most {max_images} images.")
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ServingError(Code.MALFORMED, "The body is not JSON, though its Content-Type says so.") from error
    if not isinstance(data, dict) or ("image" in data) == ("images" in data):
        raise ServingError(Code.MALFORMED, 'JSON must be {"image": base64} or {"images": [base64, …]}.')
    unknown = data.keys() - {"image", "images", "model", "version", "top_k", "priority"}
    if unknown:
        raise ServingError(Code.MALFORMED, f"JSON has an unknown field '{min(unknown)[:64]}'.")
    many = "images" in data
    encoded = data.pop("images") if many else [data.pop("image")]
    if not isinstance(encoded, list) or not encoded:
        raise ServingError(Code.MALFORMED, '"images" must be a list of at least one base64 text.')
    return Body([_decoded(text) for text in encoded], many, data)


def _decoded(text: object) -> bytes:
    if not isinstance(text, str):
        raise ServingError(Code.MALFORMED, "An image in JSON must be a text in base64.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ServingError(Code.MALFORMED, "An image is not valid base64 (and no data: address).") from error
