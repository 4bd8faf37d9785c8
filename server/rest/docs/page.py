"""The page `/docs`: shows `/openapi.json` and sends requests from the browser. One file, nothing from elsewhere."""

import base64
import hashlib
from pathlib import Path

from fastapi.responses import HTMLResponse, Response

_FOLDER = Path(__file__).parent


def _hash(text: str) -> str:
    """The source expression of an inline script or style (Content Security Policy Level 3, 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_STYLE = (_FOLDER / "page.css").read_text(encoding="utf-8")
_SCRIPT = (_FOLDER / "page.js").read_text(encoding="utf-8")
_HTML = (_FOLDER / "page.html").read_text(encoding="utf-8").replace("{style}", _STYLE).replace("{script}", _SCRIPT)
_POLICY = (
    f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def docs_page() -> Response:
    return HTMLResponse(_HTML, headers={"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"})
