"""Tensors: their elements and their bytes, as the binary tensor extension of the Open Inference Protocol has them."""

from collections.abc import Iterable

from server.errors import Code, ServingError

_LENGTH_BYTES = 4  # before each element of a BYTES tensor, little-endian


def elements(content: bytes | memoryview, count: int, name: str) -> list[bytes]:
    """The elements of a BYTES tensor. Raises ServingError MALFORMED where there are not exactly `count`."""
    found: list[bytes] = []
    at = 0
    while at < len(content) and len(found) <= count:
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(content[at:start], "little")
        if at > len(content):
            raise ServingError(Code.MALFORMED, f"The input '{name}' ends within an element: send its whole length.")
        found.append(bytes(content[start:at]))
    if len(found) != count:
        more = "more" if len(found) > count else "fewer"
        raise ServingError(Code.MALFORMED, f"The input '{name}' has {more} elements than the {count} of its shape.")
    return found


def from_elements(given: Iterable[bytes]) -> bytes:
    """The content of a BYTES tensor."""
    return b"".join(part for each in given for part in (len(each).to_bytes(_LENGTH_BYTES, "little"), each))
