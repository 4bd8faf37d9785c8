"""Aliases: names that stand for a model and one of its versions, kept in `aliases.json` beside the bundles."""

import contextlib
import json
import logging
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from bundle.errors import BundleError

log = logging.getLogger(__name__)

_FILE = "aliases.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Target:
    """What an alias stands for; without a version always the newest that is ready."""

    model: str
    version: str = ""


class Aliases:
    """By name. What is set is written down, so that it holds after a restart, where the folder can be written."""

    def __init__(self, root: Path) -> None:
        """Raises BundleError where the file is there but cannot be understood."""
        self._path = root / _FILE
        self._targets: dict[str, Target] = {}
        self.read()

    def read(self) -> None:
        """Take over what the file says, if there is one. Raises BundleError where it cannot be understood."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        except OSError as error:
            raise BundleError(f"{_FILE} cannot be read ({error.strerror}).") from error
        self._targets = _parsed(text)

    def get(self, name: str) -> Target | None:
        return self._targets.get(name)

    def all(self) -> dict[str, Target]:
        return dict(self._targets)

    def set(self, name: str, target: Target | None) -> bool:
        """Point an alias at a target, or remove it; whether that will outlive this process."""
        targets = {**self._targets, name: target}
        self._targets = {each: target for each, target in sorted(targets.items()) if target}
        return self._write()

    def _write(self) -> bool:
        draft = self._path.with_name(f".tmp-{_FILE}-{os.getpid()}")
        try:
            draft.write_text(json.dumps({name: asdict(target) for name, target in self._targets.items()}, indent=1))
            draft.replace(self._path)
        except OSError as error:
            log.warning("%s cannot be written (%s): the aliases will not outlive this process", _FILE, error.strerror)
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            return False
        return True


def fit(name: str) -> bool:
    """Whether an alias may be called that: letters, digits, `.`, `_` and `-`, at most 64."""
    return _NAME.fullmatch(name) is not None


def _parsed(text: str) -> dict[str, Target]:
    try:
        return {
            name: Target(str(target["model"]), str(target.get("version", "")))
            for name, target in json.loads(text).items()
            if fit(name)
        }
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise BundleError(
            f'{_FILE} cannot be understood: it must be like {{"stable": {{"model": "demo", "version": "1"}}}}.'
        ) from error
