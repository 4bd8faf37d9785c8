"""Environments: a virtual environment for each peer, under build/peers, made once."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from bench.peers.catalogue import COMMON, Peer
from bench.running import ROOT

FOLDER = ROOT / "build" / "peers"

_LIMIT_S = 900


class NoEnvironment(Exception):
    """A peer cannot be installed; the message says how to do without it."""


def python(peer: Peer) -> Path:
    """The interpreter of its environment, which is made anew where its pins have changed. Raises NoEnvironment."""
    pins = (*COMMON, *peer.pins)
    folder = FOLDER / peer.package
    stamp = folder / f"made-{hashlib.sha256(' '.join(pins).encode()).hexdigest()[:12]}"
    if not stamp.exists():
        shutil.rmtree(folder, ignore_errors=True)
        print(f"installing {peer.name} into {folder}", file=sys.stderr, flush=True)
        _run(peer, [sys.executable, "-m", "venv", str(folder)])
        _run(peer, [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", *pins])
        stamp.touch()
    return folder / "bin" / "python"


def packages(peer: Peer) -> dict[str, str]:
    """The version of everything that is installed for it."""
    command = [str(python(peer)), "-m", "pip", "list", "--disable-pip-version-check", "--format", "json"]
    return {row["name"].lower(): row["version"] for row in json.loads(_run(peer, command))}


def _run(peer: Peer, command: list[str]) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise NoEnvironment(f"The installation of {peer.name} took more than {_LIMIT_S} s.") from None
    if ended.returncode:
        errors = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")]
        raise NoEnvironment(
            f"{peer.name} cannot be installed from the package index ({(errors or [ended.stderr.strip()])[-1]}). Make "
            f"the index reachable, or leave this server out with --peers."
        )
    return ended.stdout
