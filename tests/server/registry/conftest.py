"""One S3 for all tests of a process."""

from tests.remote.conftest import s3, s3_of_session

__all__ = ["s3", "s3_of_session"]
