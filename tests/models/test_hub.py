"""Downloads of published weights, from a local server that answers like the hub."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from tests.conftest import REPOSITORY
from tests.support import oracles

WEIGHTS = save({"conv1.weight": torch.arange(40_000.0)})
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Serves `/<repository>/resolve/main/model.safetensors` of one repository. `cut` truncates the file."""

    cut = False

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        if self.path != "/timm/seresnet50.ra2_in1k/resolve/main/model.safetensors":
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(WEIGHTS).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(WEIGHTS)))
        self.end_headers()
        if body:
            self.wfile.write(WEIGHTS[:1000] if self.cut else WEIGHTS)

    def log_message(self, format: str, *arguments: object) -> None: ...


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def fetched(address: str, cache: Path, *references: str) -> list[str]:
    """What came of each: a path and an address, or a refusal.

    From a separate process, because the hub's library reads the address when it is imported.
    """
    oracles.timm()  # skips nothing, but fails here and not there
    program = (
        "import sys; from tests.support import oracles; oracles.timm(); from models import hub\n"
        "from models.errors import *\n"
        "for reference in sys.argv[1:]:\n"
        "    try:\n        print(*hub.fetch(reference))\n"
        "    except CheckpointError as error:\n        print('refused:', error)\n"
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": address,
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "*",
    }
    ended = subprocess.run(
        [sys.executable, "-c", program, *references],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return ended.stdout.splitlines()


NOT_PUBLISHED = {
    "timm:seresnet50.a1_in1k": "The hub has no weights at",
    "timm:seresnet101": "timm publishes no weights named 'seresnet101'",
    "seresnet50": "not a reference to published weights: give e.g. timm:seresnet50.ra2_in1k",
}


def test_published_weights_are_downloaded_whole_and_what_is_not_published_is_told(address: str, tmp_path: Path) -> None:
    found, *refused = fetched(address, tmp_path, "timm:seresnet50.ra2_in1k", *NOT_PUBLISHED)
    path, url = found.split()
    assert Path(path).read_bytes() == WEIGHTS
    assert url == f"{address}/timm/seresnet50.ra2_in1k/resolve/main/model.safetensors"
    for told, message in zip(refused, NOT_PUBLISHED.values(), strict=True):
        assert told.startswith("refused: ") and message in told


def test_without_a_network_the_message_has_the_cure(tmp_path: Path) -> None:
    (output,) = fetched("http://127.0.0.1:9", tmp_path, "timm:seresnet50.ra2_in1k")
    assert output.startswith("refused: http://127.0.0.1:9/timm/seresnet50.ra2_in1k/")
    assert "cannot be reached: connect to a network" in output


def test_a_download_cut_short_leaves_no_file(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hub, "cut", True)
    (output,) = fetched(address, tmp_path, "timm:seresnet50.ra2_in1k")
    assert "was not downloaded completely" in output
    assert not list(tmp_path.rglob("model.safetensors"))
