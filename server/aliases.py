"""Aliases: names that stand for a model and one of its versions, kept in `aliases.json` beside the bundles."""

import contextlib
import json
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bundle.errors import BundleError

try:
    import fcntl
except ImportError:  # Windows: servers that share a folder may lose each other's aliases there
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

_FILE = "aliases.json"
_LOCK = ".aliases.lock"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LOCK_LIMIT_S = 10.0
_LOCK_RETRY_S = 0.01


@dataclass(frozen=True)
class Target:
    """What an alias stands for; without a version always the newest that is ready."""

    model: str
    version: str = ""


class Aliases:
    """By name. The file is shared by all servers over the folder: each changes one alias at a time, under a lock.

    A change that cannot be written holds in this process alone.

    `get` and `all` may be called by any thread. The others read the disk: once the server runs, for a thread.
    """

    def __init__(self, root: Path) -> None:
        """Raises BundleError where the file is there but cannot be understood."""
        self._path = root / _FILE
        self._lock = root / _LOCK
        self._changing = threading.Lock()
        self._unwritten: dict[str, Target | None] = {}
        self._targets: dict[str, Target] = {}
        self.take(self.read())

    def read(self) -> dict[str, Target]:
        """What holds now, by the file and by what could not be written; the file as it was last seen if it is gone.

        Raises BundleError where the file cannot be understood.
        """
        try:
            targets = _parsed(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            targets = self._targets
        except OSError as error:
            raise BundleError(
                f"{self._path} cannot be read ({error.strerror}): let the server's user read it."
            ) from error
        except ValueError as error:  # not UTF-8
            raise _not_understood() from error
        return _changed(targets, self._unwritten)

    def take(self, targets: Mapping[str, Target]) -> None:
        """Let these hold from now on."""
        self._targets = dict(targets)

    def get(self, name: str) -> Target | None:
        return self._targets.get(name)

    def all(self) -> dict[str, Target]:
        return dict(self._targets)

    def set(self, name: str, target: Target | None) -> bool:
        """Point an alias at a target, or remove it; whether that will outlive this process.

        Raises BundleError where the file cannot be understood, or another server holds its lock for too long.
        """
        with self._changing, self._locked():
            targets = _changed(self.read(), {name: target})
            written = self._write(targets)
            self._unwritten = {} if written else {**self._unwritten, name: target}
            self.take(targets)
        return written

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """The lock of all servers over the folder; none where the system or the folder does not allow one."""
        try:
            lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            lock = None
        try:
            if lock is not None and fcntl is not None:
                _wait_for(lock)
            yield
        finally:
            if lock is not None:
                os.close(lock)  # this unlocks too

    def _write(self, targets: Mapping[str, Target]) -> bool:
        draft = self._path.with_name(f".tmp-{_FILE}-{os.getpid()}")
        try:
            draft.write_text(json.dumps({name: asdict(target) for name, target in targets.items()}, indent=1))
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


def _wait_for(lock: int) -> None:
    """Returns with the lock, or without where the file system has none. BundleError after the limit."""
    ends_s = time.monotonic() + _LOCK_LIMIT_S
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > ends_s:
                raise BundleError(
                    f"Another server holds {_LOCK} for more than {_LOCK_LIMIT_S:.0f} s: end it if it hangs."
                ) from None
            time.sleep(_LOCK_RETRY_S)
        except OSError:  # some network file systems have no locks
            return None


def _changed(targets: Mapping[str, Target], changes: Mapping[str, Target | None]) -> dict[str, Target]:
    return {name: target for name, target in sorted({**targets, **changes}.items()) if target}


def _parsed(text: str) -> dict[str, Target]:
    try:
        return {
            name: Target(str(target["model"]), str(target.get("version", "")))
            for name, target in json.loads(text).items()
            if fit(name)
        }
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError) as error:
        raise _not_understood() from error


def _not_understood() -> BundleError:
    return BundleError(
        f'{_FILE} cannot be understood: it must be like {{"stable": {{"model": "demo", "version": "1"}}}}. '
        "Mend it, or remove it to begin without aliases."
    )
