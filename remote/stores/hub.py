"""Hub store: a repository of the Hugging Face hub (`hf://OWNER/NAME[@REVISION][/FOLDER]`), over its HTTP API."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

from remote.errors import Absent, RemoteError
from remote.store import Item, Reading
from remote.stores.web import WebStore
from remote.urls import joined

_URL = re.compile(r"hf://(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)(?:@(?P<revision>[^/?#\s]+))?(?:/(?P<folder>[^?#\s]*))?")
_NEXT = re.compile(r"<([^>]+)>\s*;\s*rel=\"next\"")
_MOST_PAGE_BYTES = 32 << 20
_MOST_PAGES = 1000


class HubStore:
    """The token comes from HF_TOKEN, or from the file that `hf auth login` writes; HF_ENDPOINT names another hub."""

    def __init__(self, url: str) -> None:
        found = _URL.fullmatch(url)
        if not found:
            raise RemoteError(f"{url} is not understood: write it as hf://owner/name or hf://owner/name@main/folder.")
        self.url = url.rstrip("/")
        repository, revision = f"{found['owner']}/{found['name']}", quote(found["revision"] or "main", safe="")
        endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        token = _token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._folder = (found["folder"] or "").strip("/")
        self._tree = f"{endpoint}/api/models/{repository}/tree/{revision}"
        self._web = WebStore(f"{endpoint}/{repository}/resolve/{revision}", headers)

    def items(self, folder: str = "") -> Iterator[Item]:
        under = joined(self._folder, folder)
        address: str | None = f"{joined(self._tree, quote(under))}?recursive=true"
        for _ in range(_MOST_PAGES):
            if address is None:
                return
            rows, address = self._page(address)
            for row in rows:
                yield Item(row.name.removeprefix(f"{self._folder}/"), row.bytes, row.mark)

    def read(self, name: str, start: int = 0) -> Reading:
        return self._web.read(joined(self._folder, name), start)

    def _page(self, address: str) -> tuple[list[Item], str | None]:
        """A page of the listing, and the address of the next one, which must be of the same host."""
        answer = self._web.answer(address, "the listing")
        with answer:
            text = answer.read(_MOST_PAGE_BYTES + 1)
            following = _NEXT.search(answer.headers.get("Link", ""))
        try:
            rows = [
                Item(str(row["path"]), int(row["size"]), str(row["oid"]))
                for row in json.loads(text)
                if row["type"] == "file"
            ]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise RemoteError(f"The listing of {self.url} is not understood: look at HF_ENDPOINT.") from error
        if following and urlsplit(following[1])[:2] != urlsplit(address)[:2]:
            raise RemoteError(f"The listing of {self.url} goes on at another host, which is refused.")
        if not rows and not following:
            raise Absent(f"{self.url} holds no file: give the URL of a bundle.")
        return rows, following[1] if following else None


def _token() -> str:
    if token := os.environ.get("HF_TOKEN", "").strip():
        return token
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    try:
        return Path(os.environ.get("HF_TOKEN_PATH") or home / "token").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
