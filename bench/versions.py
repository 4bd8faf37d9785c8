"""Versions: a folder with two equal versions of a network, and an alias for the first that is the default model."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bench.running import ROOT, Server

ALIAS = "stable"
_TOKEN = "of a bench, 16 characters"
OPTIONS = ("--max-wait-ms=600000", f"--default-model={ALIAS}", f"--admin-token={_TOKEN}", "--keep-versions=2")
"""Of a server over such a folder."""


@contextmanager
def two_versions(network: str) -> Iterator[Path]:
    """Of `SE-ResNet-50`, exported now, or else of the demo."""
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        root = Path(folder)
        first = _first(root, network)
        second = first.parent / "2"
        shutil.copytree(first, second)
        manifest = json.loads((second / "manifest.json").read_text())
        (second / "manifest.json").write_text(json.dumps({**manifest, "version": "2"}))
        target = {"model": first.parent.name, "version": "1"}
        (root / "aliases.json").write_text(json.dumps({ALIAS: target}))
        yield root


def point(server: Server, **target: Any) -> None:
    """Let the alias stand for that of the only model."""
    (model, *_) = httpx.get(f"{server.url}/models").json()["models"]
    answer = httpx.put(
        f"{server.url}/admin/aliases/{ALIAS}",
        json={"model": model["model"], **target},
        headers={"Authorization": f"Bearer {_TOKEN}"},
        timeout=120,
    )
    answer.raise_for_status()


def _first(root: Path, network: str) -> Path:
    if network == "SE-ResNet-50":
        from bench import seresnet50  # the others need no torch

        return seresnet50.export(root)
    first = root / "demo" / "1"
    shutil.copytree(ROOT / "model_repository" / "demo" / "1", first)
    return first
