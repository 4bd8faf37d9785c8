"""Trace: where a request stands in a distributed trace, as W3C's Trace Context writes it."""

import random
import re
from dataclasses import dataclass
from typing import Self

_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_PARENT_CHARACTERS = 55
_STATE = re.compile(r"[\x20-\x7e\t]{1,512}")
_SAMPLED = 1
_TRACE_BYTES, _SPAN_BYTES = 16, 8

PACKED_BYTES = _TRACE_BYTES + _SPAN_BYTES


@dataclass(frozen=True, slots=True)
class Trace:
    """`span_id`: of the span in which the work is done. `parent_id`: of the caller's span, 0 where the trace begins
    here. `recorded`: whether spans of it are exported. `state`: the `tracestate` that came with it.
    """

    trace_id: int
    span_id: int
    parent_id: int = 0
    recorded: bool = False
    state: str = ""

    @classmethod
    def begun(cls) -> Self:
        """A recorded trace that begins here."""
        return cls(random.getrandbits(128) or 1, new_span_id(), recorded=True)

    @classmethod
    def received(cls, traceparent: str, tracestate: str = "") -> Self | None:
        """The caller's trace, in which a span begins here; None for a header that is not one.

        It is `recorded` where the caller has set the flag "sampled".
        """
        found = _PARENT.fullmatch(traceparent[:_PARENT_CHARACTERS])
        if found is None or not _may_follow(traceparent):
            return None
        state = tracestate if _STATE.fullmatch(tracestate) else ""
        sampled = bool(int(found[3], 16) & _SAMPLED)
        return cls(int(found[1], 16), new_span_id(), int(found[2], 16), sampled, state)

    @classmethod
    def unpacked(cls, packed: bytes) -> Self:
        """What `packed` has made in another process."""
        trace_id, span_id = packed[:_TRACE_BYTES], packed[_TRACE_BYTES:]
        return cls(int.from_bytes(trace_id), int.from_bytes(span_id), recorded=True)

    def packed(self) -> bytes:
        """The two ids, PACKED_BYTES long."""
        return self.trace_id.to_bytes(_TRACE_BYTES) + self.span_id.to_bytes(_SPAN_BYTES)

    def unrecorded(self) -> "Trace":
        """The same, without spans of this server."""
        return Trace(self.trace_id, self.span_id, self.parent_id, False, self.state)

    def header(self) -> str:
        """It as `traceparent`, for whoever works on in it."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.recorded:02x}"


def new_span_id() -> int:
    return random.getrandbits(64) or 1


def _may_follow(traceparent: str) -> bool:
    """Whether what follows the fields is allowed: nothing in version 00; more fields in later versions."""
    rest = traceparent[_PARENT_CHARACTERS : _PARENT_CHARACTERS + 1]
    return not rest or (rest == "-" and not traceparent.startswith("00"))
