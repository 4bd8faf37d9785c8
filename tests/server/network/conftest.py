"""What the tests of the network share: a CA, another one, and what they issue."""

from pathlib import Path

import pytest

from tests.support import fast
from tests.support.certificates import Authority, Issued


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    fast.leave("makes certificates")
    return Authority(tmp_path_factory.mktemp("authorities") / "one")


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authorities") / "other", "another CA")


@pytest.fixture(scope="session")
def good(authority: Authority) -> Issued:
    """For a server here."""
    return authority.issue("good")


@pytest.fixture
def renewable(good: Issued, tmp_path: Path) -> Issued:
    """A copy of it that may be replaced."""
    mine = Issued(tmp_path / "server.pem", tmp_path / "server.key")
    good.copy_to(mine)
    return mine
