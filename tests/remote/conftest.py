"""One S3 for all tests of a process."""

from collections.abc import Iterator

import pytest

from tests.support.s3 import S3, running_s3


@pytest.fixture(scope="session")
def s3_of_session() -> Iterator[S3]:
    with running_s3() as s3:
        yield s3


@pytest.fixture
def s3(s3_of_session: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """With the environment that names it."""
    for name, value in s3_of_session.environment.items():
        monkeypatch.setenv(name, value)
    return s3_of_session
