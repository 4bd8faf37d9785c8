"""Versions of the demo that differ in a planted way, and the aliases over them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx

from tests.support.published import publish

TOKEN = "0123456789abcdef"
KEY = {"Authorization": f"Bearer {TOKEN}"}


def publish_two(demo: Path, root: Path) -> Path:
    """Versions 1 and 2 of the demo, which are equal."""
    for version in (1, 2):
        publish(demo, root, version)
    return root


def rotate_labels(folder: Path) -> None:
    """Give each output of a version the name of the next one, as a wrong class order does. Its probe still passes."""
    path = folder / "labels.tsv"
    header, *rows = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    fields = [row.split("\t")[1:] for row in rows]
    moved = ["\t".join((str(index), *each)) for index, each in enumerate([*fields[1:], fields[0]])]
    path.write_text("\n".join([header, *moved]) + "\n", encoding="utf-8")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["labels"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def resize_to(folder: Path, pixels: int) -> None:
    """Have a version want its photos prepared in another way."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["preprocessing"]["resize_to"] = pixels
    path.write_text(json.dumps(manifest))


async def point(http: httpx.AsyncClient, alias: str, **target: Any) -> httpx.Response:
    """Let an alias of the demo stand for that."""
    return await http.put(f"/admin/aliases/{alias}", json={"model": "demo", **target}, headers=KEY)


async def compared(http: httpx.AsyncClient, alias: str = "stable") -> dict[str, Any]:
    answer = await http.get(f"/models/{alias}/compare")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def shares(main: float) -> list[dict[str, Any]]:
    """Of versions 1 and 2."""
    return [{"version": "1", "weight": main}, {"version": "2", "weight": 100 - main}]
