"""Several fronts: the same certificates, admin port and Unix socket for all of them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import REPOSITORY
from tests.support.certificates import Authority, Issued, TlsClient
from tests.support.pictures import jpeg
from tests.support.served_tree import FRONTS, TOKEN, served_tree

pytestmark = pytest.mark.anyio


@pytest.mark.skipif(sys.platform != "linux", reason="fronts need Linux")
async def test_fronts_share_tls_the_admin_port_and_the_unix_socket(
    demo: Path, authority: Authority, good: Issued, tmp_path: Path
) -> None:
    repository, uds = tmp_path / "repository", tmp_path / "sesame.sock"
    shutil.copytree(demo, repository / "demo" / "1")
    known = authority.client(authority.issue("a client", usage="clientAuth"))
    tls = [f"--tls-cert={good.certificate}", f"--tls-key={good.key}", f"--tls-client-ca={authority.certificate}"]
    with served_tree(repository, tmp_path / "cache", *tls, "--admin-port=0", f"--uds={uds}") as tree:
        tree.listen()
        tree.ready("core", *FRONTS)
        found = re.search(r"admin=(\S+) uds=(\S+)", tree.listening)
        assert found and found[2] == str(uds)
        context = known.context()
        for _ in range(4):  # either front may accept
            async with httpx.AsyncClient(verify=context, timeout=60) as http:
                assert (await http.post(f"{tree.url}/classify", content=jpeg())).status_code == 200
                assert (await http.get(f"{tree.url}/metrics")).status_code == 404
            async with httpx.AsyncClient(verify=context, timeout=60) as http:
                loaded = await http.post(
                    f"{found[1]}/admin/models/demo/load", headers={"Authorization": f"Bearer {TOKEN}"}
                )
                assert loaded.status_code == 200
            await called(known, tree.grpc)
        async with httpx.AsyncClient(verify=context, timeout=60) as http:
            text = (await http.get(f"{found[1]}/metrics")).text
        requests = re.findall(r'sesame_requests_total\{face="rest",outcome="ok"\} (\S+)', text)
        assert float(requests[0]) >= 4  # of all fronts together
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(uds)), timeout=60) as http:
            assert (await http.post("http://x/classify", content=jpeg())).status_code == 200
        async with httpx.AsyncClient(verify=authority.client().context(), timeout=60) as http:
            with pytest.raises(httpx.TransportError):
                await http.get(f"{tree.url}/livez")
        assert tree.end() == 0
    assert not uds.exists()


async def called(client: TlsClient, address: str) -> None:
    async with client.channel(int(address.rpartition(":")[2])) as channel:
        listing: Any = channel.unary_unary("/sesame.v1.ImageClassifier/ListModels")
        await listing(b"", timeout=60)


@pytest.mark.parametrize("fronts", ["0", "2"])
def test_files_of_tls_that_cannot_be_used_end_the_start_with_the_cure(
    fronts: str, authority: Authority, other_authority: Authority, good: Issued
) -> None:
    key = authority.issue("another").key
    options = [f"--fronts={fronts}", "--http-port=0", "--grpc-port=0", f"--tls-cert={good.certificate}"]
    ended = subprocess.run(
        [sys.executable, "-m", "server", *options, f"--tls-key={key}"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "is not the key of" in ended.stderr
    assert "Traceback" not in ended.stderr
