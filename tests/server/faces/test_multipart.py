"""Files in a multipart body: the ones that other programs write, and bodies that are made to hurt."""

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import Code, ServingError
from server.rest import multipart

PART = b'--B\r\nContent-Disposition: form-data; name="a"; filename="a.jpg"\r\n\r\n'


def refusal(body: bytes, boundary: bytes = b"B", most: int = 4) -> str:
    with pytest.raises(ServingError) as refused:
        multipart.files(body, boundary, most)
    assert refused.value.code is Code.MALFORMED
    return refused.value.detail


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_what_a_client_library_writes_is_read_back(photos: list[bytes]) -> None:
    request = httpx.Request("POST", "http://x", files=[("image", ("a.jpg", photo)) for photo in photos])
    boundary = request.headers["content-type"].partition("boundary=")[2].encode()
    assert multipart.files(request.read(), boundary, 5) == photos


def test_preamble_epilogue_padding_and_parts_without_content_are_read() -> None:
    second = b"--B  \r\nContent-Disposition: form-data; name=b; filename=b\r\n\r\n"
    body = b"preamble\r\n" + PART + b"one\r\n" + second + b"\r\n--B--end"
    assert multipart.files(body, b"B", 4) == [b"one", b""]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "broken"),
        (b"no boundary here", "broken"),
        (PART + b"abc", "ends too early"),
        (PART + b"abc\r\n--B", "broken"),
        (PART + b"abc\r\n--Bx\r\n--B--", "broken"),
        (b"--B\r\nContent-Disposition: form-data\r\nno end of the head", "broken"),
        (b'--B\r\nContent-Disposition: form-data; name="top_k"\r\n\r\n5\r\n--B--', "'top_k' is not a file"),
        (b"--B\r\n" + b"X: x\r\n" * 5000 + b"\r\nabc\r\n--B--", "broken"),
        (b"--B--", "no part with a filename"),
        ((PART + b"\r\n") * 5 + b"--B--", "at most 4"),
    ],
)
def test_what_is_broken_is_told(body: bytes, detail: str) -> None:
    assert detail in refusal(body)


@pytest.mark.parametrize("boundary", [b"", b"x" * 201])
def test_a_boundary_has_1_to_200_bytes(boundary: bytes) -> None:
    assert "no usable boundary" in refusal(PART, boundary)


class Counted(bytes):
    """Counts how often it is searched."""

    searches = 0

    def find(self, *arguments: Any) -> int:
        Counted.searches += 1
        return super().find(*arguments)


def test_a_body_of_almost_boundaries_is_searched_once_and_not_for_each_of_them() -> None:
    refusal(Counted(PART + b"\r\n--Bx" * 100_000))
    assert Counted.searches < 10


@given(st.lists(st.sampled_from([b"\r\n", b"--B", b"--", b"B", b": ", b"x", PART, b"\r\n\r\n"]), max_size=30))
def test_any_body_is_read_or_malformed(pieces: list[bytes]) -> None:
    try:
        multipart.files(b"".join(pieces), b"B", 4)
    except ServingError as error:
        assert error.code is Code.MALFORMED
