"""Bodies: the photos of a request, from a plain body, a form or JSON."""

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
from server.rest.contract.requests import PhotoInJson, PhotosInJson
from server.rest.request_head import header
from server.service import Limits

_RAW_TYPES = ("", "application/octet-stream", "application/x-www-form-urlencoded")
"""Accepted besides image/*: no type, any bytes, and the type that curl's --data-binary sends."""

_JSON_FIELDS = PhotoInJson.model_fields.keys() | PhotosInJson.model_fields.keys()
_COMMAS = 16  # more than the fields of a JSON body besides its images need
_TYPE_BYTES = 1 << 10  # longest Content-Type: the time to parse one grows faster than its length
_ON_LOOP_BYTES = 1 << 20  # a larger body is parsed in a thread


@dataclass(frozen=True)
class Body:
    """Photos, whether the answer is a list (`many`), and the other fields of a JSON body."""

    photos: list[bytes]
    many: bool
    fields: dict[str, Any] = field(default_factory=dict)


class UnreadBody(ServingError):
    """A request is rejected before its body was read to the end. Its connection cannot be used again."""

    @classmethod
    def of(cls, error: ServingError) -> "UnreadBody":
        return cls(error.code, error.detail, error.retry_after_s)


InThread = Callable[[Callable[[], Body]], Awaitable[Body]]
"""Runs a function in a thread."""


async def read_body(request: Request, limits: Limits, receipt: Receipt, in_thread: InThread) -> Body:
    """Read and parse a request's body. `receipt` counts its bytes as they arrive.

    Runs on the event loop; a large body is parsed in a thread. Raises ServingError for a body that is too large, of no
    accepted type or malformed; UnreadBody if that was found before its end; starlette's ClientDisconnect if the client
    disconnects.
    """
    limit, parse = _parser(header(request.scope, b"content-type") or "", limits)
    chunks = await read_chunks(request, limit, receipt)
    if receipt.bytes > _ON_LOOP_BYTES:
        return await in_thread(lambda: parse(b"".join(chunks)))
    return parse(b"".join(chunks))


def _parser(content_type: str, limits: Limits) -> tuple[int, Callable[[bytes], Body]]:
    """The most bytes that a body of this type may have, and the function that parses it."""
    kind, options = "", dict[bytes, bytes]()
    if len(content_type) <= _TYPE_BYTES:
        parsed, options = parse_options_header(content_type)
        kind = parsed.decode("latin-1").lower()
    if kind == "multipart/form-data":
        return limits.max_request_bytes, partial(_parse_form, options.get(b"boundary", b""), limits.max_images)
    if kind == "application/json" or kind.endswith("+json"):
        return limits.max_request_bytes, partial(parse_json, limits.max_images)
    if (kind in _RAW_TYPES and len(content_type) <= _TYPE_BYTES) or kind.startswith("image/"):
        return limits.max_image_bytes, _parse_raw
    raise UnreadBody(
        Code.UNSUPPORTED_TYPE,
        f"Content-Type '{content_type[:64]}' is not accepted: send image/*, application/octet-stream, "
        "multipart/form-data or application/json.",
    )


async def read_chunks(request: Request, limit: int, receipt: Receipt) -> Sequence[bytes]:
    """The body in pieces. Raises UnreadBody as soon as its length, announced or counted, exceeds the limit."""
    announced = header(request.scope, b"content-length") or ""
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    chunks = []
    async for chunk in request.stream():
        try:
            receipt.grow(len(chunk))
        except ServingError as error:
            raise UnreadBody.of(error) from None
        if receipt.bytes > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return chunks


def _too_large(limit: int) -> UnreadBody:
    return UnreadBody(Code.TOO_LARGE, f"The body is too large: send at most {limit} bytes.")


def _parse_raw(body: bytes) -> Body:
    if not body:
        raise ServingError(Code.MALFORMED, "The body is empty: send a photo in it.")
    return Body([body], many=False)


def _parse_form(boundary: bytes, max_images: int, body: bytes) -> Body:
    return Body(multipart.files(body, boundary, max_images), many=True)


def parse_json(max_images: int, body: bytes) -> Body:
    """Raises ServingError MALFORMED."""
    if body.count(b",") > max_images + _COMMAS:  # base64 has none; parsing millions of values would stop the server
        raise ServingError(Code.MALFORMED, f"Too many values in one request: send at most {max_images} images.")
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ServingError(Code.MALFORMED, "The body is not JSON, though its Content-Type says so.") from error
    if not isinstance(data, dict) or ("image" in data) == ("images" in data):
        raise ServingError(Code.MALFORMED, 'JSON must be {"image": base64} or {"images": [base64, …]}.')
    unknown = data.keys() - _JSON_FIELDS
    if unknown:
        raise ServingError(Code.MALFORMED, f"JSON has an unknown field '{min(unknown)[:64]}'.")
    many = "images" in data
    encoded = data.pop("images") if many else [data.pop("image")]
    if not isinstance(encoded, list) or not encoded:
        raise ServingError(Code.MALFORMED, '"images" must be a list of at least one base64 string.')
    return Body([_decoded(text) for text in encoded], many, data)


def _decoded(text: object) -> bytes:
    if not isinstance(text, str):
        raise ServingError(Code.MALFORMED, "An image in JSON must be a string in base64.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ServingError(
            Code.MALFORMED, "An image is not valid base64: send it without line breaks and without 'data:' before it."
        ) from error
