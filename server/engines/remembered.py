"""Remembered: how fast engines were with a bundle on this machine: a file of numbers."""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bundle.files import Bundle
from server import cores

log = logging.getLogger(__name__)

Numbers = dict[str, float]
"""By name, such as images a second by engine and precision."""


class Remembered:
    """A JSON file. One that cannot be read counts as empty, one that cannot be written is done without."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def key(self, bundle: Bundle, candidates: Sequence[str]) -> str:
        """Of all that the rates depend on: the bundle, the processor and the engines' versions.

        Virtual machines give processors with other instructions the same name.
        """
        machine = [cores.processor(), *cores.features(), *versions(), *candidates]
        text = json.dumps([bundle.manifest.to_json(), *map(str, machine)])
        return hashlib.sha256(text.encode()).hexdigest()

    def get(self, key: str) -> Numbers | None:
        return self._read().get(key)

    def put(self, key: str, numbers: Numbers) -> None:
        draft = self._path.with_name(f".tmp-{self._path.name}-{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps({**self._read(), key: numbers}, indent=1), encoding="utf-8")
            draft.replace(self._path)
        except OSError as error:
            log.warning("%s cannot be written (%s): engines are measured again next time", self._path, error.strerror)

    def _read(self) -> dict[str, Numbers]:
        try:
            data = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(key): {str(name): float(each) for name, each in found.items()} for key, found in data.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}


def versions() -> list[str]:
    """Of all packages that the speed of an engine depends on; "" where one is not installed."""
    return [_version(package) for package in ("sesame", "onnxruntime", "onnxruntime-gpu", "openvino")]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
