"""Site: the files of the page, read once at the start, and how they are answered."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import Response

_FOLDER = Path(__file__).parent / "files"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""No script, style or connection but this server's own, and no text that becomes HTML. `blob:` is a chosen photo."""


@dataclass(frozen=True)
class _File:
    """One file, in memory. It has no version in its name, so browsers ask each time whether they have the newest."""

    content: bytes
    headers: dict[str, str]

    async def answer(self, request: Request) -> Response:
        """200 with the content, or 304 if the browser has it."""
        if _has(request.headers.get("if-none-match", ""), self.headers["ETag"]):
            return Response(status_code=304, headers=self.headers)
        return Response(self.content, headers=self.headers)


def _has(known: str, etag: str) -> bool:
    """Whether the tag is one of an If-None-Match header's, compared weakly (RFC 9110, 13.1.2)."""
    tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
    return bool(tags & {etag, "*"})


def _read(path: Path, without: bytes) -> _File:
    content = path.read_bytes().replace(without, b"")
    headers = {
        "Content-Type": _TYPES[path.suffix],
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _POLICY,
        "Referrer-Policy": "no-referrer",
    }
    return _File(content, headers)


class Site:
    """Routes of the page: `/`, and each other file as `/page/app.js` is. They run on the event loop."""

    def __init__(self, without: bytes = b"") -> None:
        """`without`: a piece of its files that is left out. Raises OSError without the files."""
        self._files = {path.name: _read(path, without) for path in sorted(_FOLDER.iterdir())}

    def add_routes(self, app: FastAPI) -> None:
        for name, file in self._files.items():
            path = "/" if name == "index.html" else f"/page/{name}"
            app.add_api_route(path, file.answer, include_in_schema=False)
