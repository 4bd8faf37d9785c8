"""Tensors of bytes: what is written is read again, and anything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import Code, ServingError
from server.openinference.tensors import elements, from_elements


@given(st.lists(st.binary(max_size=50), max_size=8))
def test_elements_come_back(written: list[bytes]) -> None:
    assert elements(memoryview(from_elements(written)), len(written), "x") == written


@given(st.binary(max_size=60), st.integers(0, 9))
def test_any_bytes_are_elements_or_refused(content: bytes, count: int) -> None:
    try:
        found = elements(content, count, "x")
    except ServingError as error:
        assert error.code is Code.MALFORMED
    else:
        assert from_elements(found) == content


def test_no_more_is_read_than_was_said() -> None:
    with pytest.raises(ServingError, match="more elements"):
        elements(from_elements([b""] * 10**6), 2, "x")
