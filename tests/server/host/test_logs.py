"""The log never blocks the server, and the process ends whether or not anybody reads its log."""

import subprocess
import sys

from tests.conftest import REPOSITORY

_FLOOD = """
import logging
from server.host.logs import Logs
logs = Logs("info")
for number in range(30_000):
    logging.getLogger("test").info("line %d %s", number, "x" * 100)
print("dropped", logs.dropped() > 0, flush=True)
logs.end_process(7)
"""
_FEW = """
import logging, warnings
from server.host.logs import Logs
logs = Logs("warning")
logging.getLogger("test").info("not this")
logging.getLogger("test").warning("a warning")
warnings.warn("a library's")
names = ["before"]
logging.getLogger("test").error("names %s", names)
names[0] = "after"
try:
    raise ValueError("torn")
except ValueError:
    logging.getLogger("test").exception("it failed")
logging.getLogger("test").error("%d is no number", "this")
logging.getLogger("test").error("the last line")
logs.end_process(0)
"""


def run(code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_reader_that_does_not_read_costs_lines_and_nothing_else() -> None:
    with run(_FLOOD) as process:
        assert process.stdout
        assert process.stdout.readline() == "dropped True\n"
        assert process.wait(60) == 7


def test_all_lines_are_written_before_the_process_ends() -> None:
    with run(_FEW) as process:
        _, stderr = process.communicate(timeout=60)
    assert "WARNING test a warning" in stderr
    assert "a library's" in stderr
    assert "not this" not in stderr
    assert "ERROR test names ['before']" in stderr
    assert "ERROR test it failed\n  Traceback (most recent call last):\n" in stderr
    assert "  ValueError: torn\n" in stderr
    assert stderr.endswith("ERROR test the last line\n")
