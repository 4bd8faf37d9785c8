"""Log formats: a record as a line of text, or as a line of JSON. The log's thread writes them out."""

import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

_PLAIN = frozenset("!#$%&'()*+,-./0123456789:;<>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~")
"""Characters of a value that needs no quotes: all of ASCII but blanks, quotes, the equals sign and the backslash."""

_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


class Event(ABC):
    """A message with named fields. It must not change once it is logged."""

    __slots__ = ()

    @abstractmethod
    def summary(self) -> str:
        """What happened, in a few words."""

    @abstractmethod
    def fields(self) -> Mapping[str, str | int | float]: ...

    @abstractmethod
    def __str__(self) -> str:
        """All of it as text, on one line."""


def quoted(value: str) -> str:
    """The value as a word of a text: in quotes, and with escapes as in JSON, unless each character is plain."""
    return value if value and _PLAIN.issuperset(value) else _encode(value)


class TextFormat:
    """A line for people. Control characters are escaped, so that nobody can forge a line; the lines of a traceback are
    indented.
    """

    def __init__(self, process: str) -> None:
        self._process = f"{process} " if process else ""
        self._clock = _Clock("%Y-%m-%d %H:%M:%S,", time.localtime)

    def __call__(self, record: logging.LogRecord) -> str:
        head = f"{self._clock.at(record.created)} {record.levelname} {self._process}{record.name}"
        line = f"{head} {printable(record.getMessage())}\n"
        if record.exc_text:
            line += "".join(f"  {printable(each)}\n" for each in record.exc_text.split("\n"))
        return line


class JsonFormat:
    """An object a line, in ASCII. The names of its fields are those of docs/logs.md."""

    def __init__(self, process: str) -> None:
        self._process = {"process": process} if process else {}
        self._clock = _Clock("%Y-%m-%dT%H:%M:%S.", time.gmtime)

    def __call__(self, record: logging.LogRecord) -> str:
        event = record.msg if isinstance(record.msg, Event) else None
        line: dict[str, Any] = {
            "time": f"{self._clock.at(record.created)}Z",
            "level": record.levelname.lower(),
            **self._process,
            "logger": record.name,
            "message": event.summary() if event else record.getMessage(),
        }
        if event:
            line |= event.fields()
        if record.exc_text:
            line["traceback"] = record.exc_text
        return f"{_encode(line)}\n"


def printable(text: str) -> str:
    """The text with each character escaped that is not printable, such as line breaks and terminals' commands."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class _Clock:
    """Writes times. The second is kept, because many lines have the same."""

    def __init__(self, format: str, parts: Callable[[float], time.struct_time]) -> None:
        self._format = format
        self._parts = parts
        self._second = 0
        self._text = ""

    def at(self, created_s: float) -> str:
        """In milliseconds."""
        second = int(created_s)
        if second != self._second:
            self._second, self._text = second, time.strftime(self._format, self._parts(second))
        return f"{self._text}{int((created_s - second) * 1e3):03d}"


FORMATS: Mapping[str, Callable[[str], Callable[[logging.LogRecord], str]]] = {"text": TextFormat, "json": JsonFormat}
"""By the values of the setting `log_format`. Each is made with the name of the process."""
