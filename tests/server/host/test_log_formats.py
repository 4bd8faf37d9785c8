"""A record is one line, whatever is in it."""

import json
import logging
import re
import sys

from hypothesis import given
from hypothesis import strategies as st

from server.host.log_formats import FORMATS, JsonFormat, TextFormat, printable, quoted

HOSTILE = 'a"b\n2026-01-01 00:00:00,000 INFO server.access POST /forged 200\r\x1b[31m\u2028\u202e\ud800\x00\x85\x7f'
STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ")


def record(message: str, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    made = logging.LogRecord("server.test", logging.WARNING, "", 0, message, args, None)
    made.created = 1_700_000_000.25
    if error:
        made.exc_text = logging.Formatter().formatException((type(error), error, error.__traceback__))
    return made


def raised(message: str) -> ValueError:
    try:
        raise ValueError(message)
    except ValueError as error:
        return error


def test_a_text_line() -> None:
    line = TextFormat("front-0")(record("it was %s", "so"))
    assert STAMP.match(line)
    assert line[24:] == "WARNING front-0 server.test it was so\n"
    assert line[19:23] == ",250"


def test_a_json_line() -> None:
    assert json.loads(JsonFormat("core")(record("it was %s", "so"))) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "process": "core",
        "logger": "server.test",
        "message": "it was so",
    }
    assert "process" not in json.loads(JsonFormat("")(record("alone")))


def test_an_error_with_a_hostile_message_forges_nothing() -> None:
    error = record("it failed: %s", HOSTILE, error=raised(HOSTILE))
    text = TextFormat("")(error)
    assert [line for line in text.split("\n") if STAMP.match(line)] == [text.split("\n")[0]]
    assert all(line.isprintable() for line in text.split("\n"))
    line = JsonFormat("")(error)
    assert line.count("\n") == 1
    assert "ValueError: a" in json.loads(line)["traceback"]


@given(st.text(st.characters(codec=None)))
def test_any_message_is_one_line_of_either_format(message: str) -> None:
    for name in FORMATS:
        line = FORMATS[name]("")(record("%s", message))
        assert line.endswith("\n")
        assert line[:-1].isprintable()
        assert len(line.splitlines()) == 1
        line.encode(sys.getfilesystemencoding())  # nor half a surrogate pair
    assert json.loads(JsonFormat("")(record("%s", message)))["message"] == message


@given(st.text(st.characters(codec=None)))
def test_a_word_has_one_meaning(value: str) -> None:
    word = quoted(value)
    assert word.isascii()
    assert word.isprintable()
    if word.startswith('"'):
        assert json.loads(word) == value
    else:
        assert word == value
        assert not re.search(r'[\s"=]', word)


@given(st.text())
def test_what_is_printable_is_left_as_it_is(text: str) -> None:
    assert printable(text).isprintable()
    assert not text.isprintable() or printable(text) == text
