"""One running tree for all tests that leave it serving."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import fast
from tests.support.process_tree import state
from tests.support.served_tree import FRONTS, LINE, ServedTree, served_tree

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one tree has measured, the next one need not."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="package")
def shared_tree(demo: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedTree]:
    """A tree that is ready, with the demo as version 1. All that it ever logs consists of whole lines."""
    fast.leave("starts a server")
    repository = tmp_path_factory.mktemp("repository")
    shutil.copytree(demo, repository / "demo" / "1")
    with served_tree(repository, cache) as tree:
        tree.listen()
        tree.ready("core", *FRONTS)
        yield tree
        assert tree.end() == 0
        assert not any(state(pid)[0] for pid in tree.processes.values())
        torn = [line for line in tree.lines[:-1] if not LINE.fullmatch(line)]
        assert not torn
        assert {line.split()[3] for line in tree.lines[:-1]} >= {"core", *FRONTS}
