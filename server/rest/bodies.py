"""Bodies: the photos in a request, in whichever of the accepted forms they come."""

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from server.errors import Code, ServingError
from server.service import Limits

_RAW_TYPES = ("", "application/octet-stream", "application/x-www-form-urlencoded")
"""Besides image/*: no type, any bytes, and what curl's --data-binary says of itself."""


_FIELDS = 16  # more commas than JSON's other fields need


@dataclass(frozen=True)
class Body:
    """Photos, whether the answer is a list, and what a JSON body says besides (the query wins over it)."""

    photos: list[bytes]
    many: bool
    fields: dict[str, Any] = field(default_factory=dict)


async def read_body(request: Request, limits: Limits) -> Body:
    """Read and take apart a request's body, counting bytes as they come.

    Raises ServingError where it is too large, of no accepted type or malformed; starlette's ClientDisconnect where the
    caller leaves.
    """
    content_type, options = parse_options_header(request.headers.get("content-type", ""))
    kind = content_type.decode("latin-1").lower()
    if kind == "multipart/form-data":
        return await _multipart(request, options.get(b"boundary", b""), limits)
    if kind == "application/json" or kind.endswith("+json"):
        return _json(await _bytes(request, limits.max_request_bytes), limits.max_images)
    if kind in _RAW_TYPES or kind.startswith("image/"):
        photo = await _bytes(request, limits.max_image_bytes)
        if not photo:
            raise ServingError(Code.MALFORMED, "The body is empty: send a photo in it.")
        return Body([photo], many=False)
    raise ServingError(
        Code.UNSUPPORTED_TYPE,
        f"Content-Type '{kind[:64]}' is not accepted: send image/*, application/octet-stream, multipart/form-data "
        "or application/json.",
    )


async def _bytes(request: Request, limit: int) -> bytes:
    chunks: list[bytes] = []
    await _stream(request, limit, chunks.append)
    return b"".join(chunks)


async def _stream(request: Request, limit: int, write: Callable[[bytes], object]) -> None:
    """Pass the body on piece by piece; ServingError as soon as its length, said or counted, exceeds the limit."""
    said = request.headers.get("content-length", "")
    counted = 0
    if said.isdecimal() and int(said) > limit:
        raise _too_large(limit)
    async for chunk in request.stream():
        counted += len(chunk)
        if counted > limit:
            raise _too_large(limit)
        write(chunk)


def _too_large(limit: int) -> ServingError:
    return ServingError(Code.TOO_LARGE, f"The body is too large: send at most {limit} bytes.")


async def _multipart(request: Request, boundary: bytes, limits: Limits) -> Body:
    if not boundary:
        raise ServingError(Code.MALFORMED, "The multipart Content-Type has no boundary: let the HTTP client set it.")
    parts = _Parts(limits.max_images)
    try:
        parser = MultipartParser(boundary, parts.callbacks())  # type: ignore[arg-type]
        await _stream(request, limits.max_request_bytes, parser.write)
        parser.finalize()
    except FormParserError as error:
        raise ServingError(Code.MALFORMED, "The multipart body is broken: let the HTTP client build it.") from error
    if not parts.ended:
        raise ServingError(Code.MALFORMED, "The multipart body ends too early: send it whole.")
    if not parts.photos:
        raise ServingError(Code.MALFORMED, "The multipart body has no part with a filename: send photos as files.")
    return Body([bytes(photo) for photo in parts.photos], many=True)


class _Parts:
    """Collects the parts of a multipart body while it streams in; every part with a filename is a photo."""

    def __init__(self, max_images: int) -> None:
        self.photos: list[bytearray] = []
        self.ended = False
        self._max_images = max_images
        self._header = (b"", b"")

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._part_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_end": self._end,
        }

    def _part_begin(self) -> None:
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0] + data[start:end], b"")

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0], self._header[1] + data[start:end])

    def _header_end(self) -> None:
        name, value = self._header
        self._header = (b"", b"")
        if name.lower() == b"content-disposition":
            self._disposition = value

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            name = options.get(b"name", b"?").decode("utf-8", "replace")[:64]
            raise ServingError(
                Code.MALFORMED, f"The part '{name}' is not a file: put model, version and top_k into the query."
            )
        if len(self.photos) == self._max_images:
            raise ServingError(Code.MALFORMED, f"Too many images in one request: send at most {self._max_images}.")
        self.photos.append(bytearray())

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self.photos[-1] += data[start:end]

    def _end(self) -> None:
        self.ended = True


def _json(body: bytes, max_images: int) -> Body:
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
