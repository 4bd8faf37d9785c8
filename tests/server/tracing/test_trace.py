"""W3C's Trace Context: what is taken from a caller, and what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.trace import Trace

_ID, _SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{_ID}-{_SPAN}-01"


def test_the_callers_trace_goes_on() -> None:
    trace = Trace.received(VALID, "a=1,b=2")
    assert trace
    assert (f"{trace.trace_id:032x}", f"{trace.parent_id:016x}", trace.state) == (_ID, _SPAN, "a=1,b=2")
    assert trace.recorded
    assert trace.header() == f"00-{_ID}-{trace.span_id:016x}-01"


@pytest.mark.parametrize(
    ("flags", "recorded"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)]
)
def test_only_the_flag_sampled_counts(flags: str, recorded: bool) -> None:
    trace = Trace.received(f"00-{_ID}-{_SPAN}-{flags}")
    assert trace
    assert trace.recorded is recorded


@pytest.mark.parametrize(
    "header",
    [
        "",
        VALID[:-1],
        VALID + "0",
        VALID + "-more",  # version 00 has no more fields
        VALID.upper(),
        "ff" + VALID[2:],
        f"00-{'0' * 32}-{_SPAN}-01",
        f"00-{_ID}-{'0' * 16}-01",
        f"00-{_ID[:-1]}\u0661-{_SPAN}-01",
        VALID + "\n",
        " " + VALID,
    ],
)
def test_what_is_no_header_of_it_is_passed_over(header: str) -> None:
    assert Trace.received(header) is None


def test_a_later_version_may_have_more_fields() -> None:
    assert Trace.received("01" + VALID[2:] + "-more")
    assert Trace.received("01" + VALID[2:])
    assert Trace.received("01" + VALID[2:] + "more") is None


@pytest.mark.parametrize("state", ["a" * 513, "a=\n1", "a=\u00e9", "\x00"])
def test_a_state_that_is_too_long_or_no_text_is_left_out(state: str) -> None:
    trace = Trace.received(VALID, state)
    assert trace
    assert trace.state == ""


@given(st.text(max_size=80) | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.{0,3}"))
def test_whatever_comes_is_a_trace_or_none(header: str) -> None:
    trace = Trace.received(header, header)
    assert trace is None or (trace.trace_id and trace.parent_id and trace.span_id)


def test_it_crosses_between_processes() -> None:
    trace = Trace.begun()
    assert Trace.unpacked(trace.packed()) == trace
