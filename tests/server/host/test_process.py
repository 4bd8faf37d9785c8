"""What the process asks of the system."""

import resource
import subprocess
import sys

import pytest

from server.host import process
from tests.conftest import REPOSITORY

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, which tells what a process may open and holds")

_FLOOD = """
from server.host.process import Trimmer, _resident_bytes, give_memory_back
give_memory_back()
trimmer = Trimmer()
before = _resident_bytes()
pieces = [bytes(1000) for _ in range(200_000)]
kept = pieces[::1000]
flooded = _resident_bytes()
del pieces
trims = [trimmer.trim_when_settled() for _ in range(12)]
print(before, flooded, _resident_bytes(), sum(trims))
"""


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60).stdout


@linux
def test_memory_between_pieces_that_are_kept_goes_back() -> None:
    before, flooded, after, trims = map(int, run(_FLOOD).split())
    assert flooded - before > 150 << 20
    assert after - before < 50 << 20
    assert trims >= 1


@linux
def test_nothing_is_trimmed_during_a_flood_nor_where_there_is_nothing_to_gain() -> None:
    mib = 1 << 20
    resident = iter([100, *[100] * 9, 200, 300, 400, 500, 500, 110, 110, *[110] * 9])
    trimmer = process.Trimmer(lambda: next(resident) * mib)
    assert not any(trimmer.trim_when_settled() for _ in range(9))  # as at the start
    assert not any(trimmer.trim_when_settled() for _ in range(4))  # more each time
    assert trimmer.trim_when_settled()  # settled; what it held is read once more afterwards
    assert not any(trimmer.trim_when_settled() for _ in range(9))


@linux
def test_the_limit_of_open_files_is_raised_for_the_connections() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 4000:
        pytest.skip(f"needs to be allowed 4000 open files, not {hard}")
    output = run(
        "import logging, resource, sys; logging.basicConfig(stream=sys.stdout); from server.host import process; "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4000)); "
        "process.allow_connections(1000); print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    assert output.split() == ["2512", "4000"]  # and no warning before it


@linux
def test_too_low_a_limit_of_open_files_is_reported_with_its_cure() -> None:
    output = run(
        "import logging, resource, sys; logging.basicConfig(stream=sys.stdout); from server.host import process; "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 900)); process.allow_connections(1000)"
    )
    assert "only 900 files may be open" in output
    assert "--max-connections" in output
