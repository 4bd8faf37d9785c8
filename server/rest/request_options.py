"""Request options: what the query and a JSON body ask for, as RequestOptions of the service."""

from collections.abc import Mapping
from typing import Any

from server.errors import Code, ServingError
from server.exchange import Exchange
from server.scheduling.fair_queue import Caller, Priority
from server.service import RequestOptions

_MOST_DIGITS = 9
"""Of a number in a text: Python needs long for a number of many digits."""


def request_options(
    query: Mapping[str, str], fields: Mapping[str, Any], deadline_s: float, exchange: Exchange
) -> RequestOptions:
    """The query wins over the fields of a JSON body; a field that is null is not given.

    Raises ServingError MALFORMED for a value of the wrong kind.
    """
    given = {**{name: value for name, value in fields.items() if value is not None}, **query}
    return RequestOptions(
        deadline_s,
        Caller(_priority(given)),
        model=_text(given, "model"),
        version=_text(given, "version"),
        top_k=_whole_number(given, "top_k"),
        exchange=exchange,
    )


def timeout_s(text: str, most_s: float) -> float:
    """The value of an `X-Request-Timeout-Ms` header in seconds. Raises ServingError MALFORMED."""
    most_ms = int(most_s * 1e3)
    whole = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
    if not whole or not 1 <= int(text) <= most_ms:
        raise ServingError(Code.MALFORMED, f"X-Request-Timeout-Ms must be a whole number from 1 to {most_ms}.")
    return int(text) / 1e3


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str):
        raise ServingError(Code.MALFORMED, f"{name} must be a string.")
    return value


def _priority(given: Mapping[str, Any]) -> Priority:
    text = _text(given, "priority")
    if text and text not in set(Priority):
        raise ServingError(Code.MALFORMED, f"priority must be {' or '.join(Priority)}.")
    return Priority(text or Priority.INTERACTIVE)


def _whole_number(given: Mapping[str, Any], name: str) -> int | None:
    value = given.get(name)
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        digits = value.lstrip("0")
        if len(digits) > _MOST_DIGITS:
            raise ServingError(Code.MALFORMED, f"{name} must be a whole number of at most {_MOST_DIGITS} digits.")
        return int(digits or "0")
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise ServingError(Code.MALFORMED, f"{name} must be a whole number.")
    return value
