"""MeasurementCache: a file with numbers that were measured on this machine, such as each engine's speed."""

import hashlib
import json
import logging
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bundle.atomic import write_atomically
from bundle.files import Bundle
from server.engines import table
from server.host import cores

log = logging.getLogger(__name__)

Numbers = dict[str, float]
"""By name, such as images per second by engine and precision."""


class MeasurementCache:
    """A JSON file of numbers by key. It counts as empty if it cannot be read. If it cannot be written, that is logged.

    Servers may share the file. Of two that write at the same time one may lose its numbers, and measures again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def key(self, bundle: Bundle, candidates: Sequence[str]) -> str:
        """A hash of all that rates depend on: the bundle, the candidates, the processor and the engines' versions.

        The processor's instructions are part of it: virtual machines give processors with other instructions the same
        name.
        """
        machine = [cores.processor(), *cores.features(), *versions(), *candidates]
        text = json.dumps([bundle.manifest.to_json(), *map(str, machine)])
        return hashlib.sha256(text.encode()).hexdigest()

    def get(self, key: str) -> Numbers | None:
        return self._read().get(key)

    def put(self, key: str, numbers: Numbers) -> None:
        text = json.dumps({**self._read(), key: numbers}, indent=1)
        try:
            write_atomically(self._path, text.encode())
        except OSError as error:
            log.warning("%s cannot be written (%s): engines are measured again next time", self._path, error.strerror)

    def _read(self) -> dict[str, Numbers]:
        try:
            data = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(key): {str(name): float(each) for name, each in found.items()} for key, found in data.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}


def versions() -> list[str]:
    """Of all packages that the speed of an engine depends on; "" for one that is not installed."""
    packages = {package for entry in table.ENGINES for package in entry.packages}
    return [_version(package) for package in ("sesame", *sorted(packages))]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
