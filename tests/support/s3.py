"""An S3 on this machine (moto's server), in a process of its own, and the environment that names it."""

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import obstore
import pytest
from obstore.store import S3Store

from tests.support import fast

BUCKET = "bucket"


@dataclass(frozen=True)
class S3:
    """`url`: of the process. Names of objects are those in the bucket."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "an-id",
            "AWS_SECRET_ACCESS_KEY": "hush",
            "AWS_REGION": "us-east-1",
        }

    def put(self, name: str, content: bytes) -> None:
        obstore.put(self._store(), name, content)

    def get(self, name: str) -> bytes:
        return bytes(obstore.get(self._store(), name).bytes())

    def damage(self, name: str) -> bytes:
        """Change one bit of an object; returns what it was."""
        content = self.get(name)
        changed = bytearray(content)
        changed[len(changed) // 2] ^= 1
        self.put(name, bytes(changed))
        return content

    def _store(self) -> S3Store:
        return S3Store(
            BUCKET,
            endpoint=self.url,
            access_key_id="an-id",
            secret_access_key="hush",
            region="us-east-1",
            client_options={"allow_http": True},
        )


@contextmanager
def running_s3() -> Iterator[S3]:
    """Start one with an empty bucket on a free port."""
    fast.leave("starts an S3")
    pytest.importorskip("moto.server", reason="needs moto[server]: make setup")
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(command, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            found = next(filter(None, (re.search(r"http://127\.0\.0\.1:\d+", line) for line in process.stderr)))
            s3 = S3(found[0])
            with urllib.request.urlopen(urllib.request.Request(f"{s3.url}/{BUCKET}", method="PUT"), timeout=60):
                pass
            yield s3
        finally:
            process.kill()
