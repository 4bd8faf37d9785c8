"""Multipart: the files of a `multipart/form-data` body (RFC 7578) that is whole in memory.

The parser only searches for the boundary, so its time depends on the size of a body alone. Parsers that go through the
bytes in Python need seconds for bodies that are made to be slow.
"""

from collections.abc import Iterator

from python_multipart.multipart import parse_options_header

from server.errors import Code, ServingError

_HEAD_BYTES = 8 << 10  # of one part
_BOUNDARY_BYTES = 200  # RFC 2046 allows 70


def files(body: bytes, boundary: bytes, most: int) -> list[bytes]:
    """The content of each part.

    Raises ServingError MALFORMED for a part without a filename, for more than `most` parts, and for a broken body.
    """
    if not 0 < len(boundary) <= _BOUNDARY_BYTES:
        raise _malformed("The multipart Content-Type has no usable boundary: let the HTTP client set this header.")
    found: list[bytes] = []
    for head, content in _parts(body, b"--" + boundary):
        if len(found) == most:
            raise _malformed(f"Too many images in one request: send at most {most}.")
        _check_is_file(head)
        found.append(content)
    if not found:
        raise _malformed("The multipart body has no part with a filename: send photos as files.")
    return found


def _parts(body: bytes, dashed: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Head and content of each part."""
    delimiter = b"\r\n" + dashed
    first = 0 if body.startswith(dashed) else body.find(delimiter) + 2
    if first == 1:
        raise _broken()
    at = first + len(dashed)
    while body[at : at + 2] != b"--":
        line_end = body.find(b"\r\n", at, at + _HEAD_BYTES)
        if line_end < 0 or body[at:line_end].strip(b" \t"):
            raise _broken()
        head_end = body.find(b"\r\n\r\n", line_end, line_end + _HEAD_BYTES)
        if head_end < 0:
            raise _broken()
        end = body.find(delimiter, head_end + 2)
        if end < 0:
            raise _malformed("The multipart body ends too early: send the whole body.")
        yield body[line_end + 2 : head_end], body[head_end + 4 : max(end, head_end + 4)]
        at = end + len(delimiter)


def _check_is_file(head: bytes) -> None:
    """Raises ServingError if a part is not a file."""
    disposition = b""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            disposition = value.strip()
    _, options = parse_options_header(disposition)
    if b"filename" not in options:
        field = options.get(b"name", b"?").decode("utf-8", "replace")[:64]
        raise _malformed(f"The part '{field}' is not a file: send model, version, top_k and priority in the query.")


def _broken() -> ServingError:
    return _malformed("The multipart body is broken: let the HTTP client build the body.")


def _malformed(detail: str) -> ServingError:
    return ServingError(Code.MALFORMED, detail)
