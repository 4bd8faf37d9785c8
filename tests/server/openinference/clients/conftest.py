"""One server for the clients of others: a real process with two versions of the demo, and a second model."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from bundle.files import read
from bundle.images import to_picture
from tests.support import fast
from tests.support.pictures import encoded, jpeg, picture
from tests.support.published import publish
from tests.support.served_tree import TOKEN, ServedTree, served_tree

_SHARED_MEMORY = f"sesame-test-{os.getpid()}-"
_PHOTOS = [jpeg(3, 200, 120), encoded(picture(90, 130, 8), "PNG"), encoded(picture(64, 64, 12), "WEBP", quality=95)]


@pytest.fixture(scope="package")
def served(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedTree]:
    """One that is ready."""
    fast.leave("starts a server")
    repository = tmp_path_factory.mktemp("repository")
    for name, version in (("demo", 1), ("demo", 2), ("other", 1)):
        publish(demo, repository, version, name=name)
    options = ["--exact-pixels", "--keep-versions=0", f"--shared-memory={_SHARED_MEMORY}"]
    with served_tree(repository, tmp_path_factory.mktemp("cache"), *options, fronts=0) as process:
        process.listen()
        process.ready("server.startup.app")
        yield process
        assert process.end() == 0


@pytest.fixture(scope="package")
def sent(served: ServedTree, demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a client's program reads."""
    folder = tmp_path_factory.mktemp("sent")
    preprocessing = read(demo).manifest.preprocessing
    for number, photo in enumerate(_PHOTOS):
        (folder / f"photo-{number}").write_bytes(photo)
    np.save(folder / "pixels.npy", np.stack([to_picture(photo, preprocessing, 1 << 24) for photo in _PHOTOS]))
    (folder / "token").write_text(TOKEN)
    (folder / "shared_memory").write_text(_SHARED_MEMORY)
    return folder


@pytest.fixture(scope="package")
def expected(served: ServedTree) -> list[list[tuple[int, float, str]]]:
    """Of each photo the five best classes by `POST /classify`: index, probability and label."""
    with httpx.Client(base_url=served.url, timeout=120) as http:
        answers = [http.post("/classify", content=photo, params={"model": "demo"}).json() for photo in _PHOTOS]
    rows = [[(row["index"], row["probability"], row["label"]) for row in each["predictions"]] for each in answers]
    assert len({row[0][0] for row in rows}) == len(rows)  # or a wrong order of photos would not show
    return rows
