"""Aliases: names that stand for versions of a model, kept in `aliases.json` in the model repository."""

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bundle.atomic import write_atomically
from bundle.errors import BundleError
from bundle.names import is_name
from server.registry.target import Target, from_json

try:
    import fcntl
except ImportError:  # Windows: servers that share a folder may overwrite each other's aliases there
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

_FILE = "aliases.json"
_LOCK = ".aliases.lock"
_LOCK_LIMIT_S = 10.0
_LOCK_RETRY_S = 0.01


class Aliases:
    """The aliases by name. All servers of a model repository share the file; each change is made under a file lock.

    A change that cannot be written holds in this process alone.

    Any thread may call `get` and `all`. `read` and `set` read the disk: once the server runs, call them in a thread.
    """

    def __init__(self, root: Path) -> None:
        """Raises BundleError where the file exists but cannot be read."""
        self._path = root / _FILE
        self._lock = root / _LOCK
        self._changing = threading.Lock()
        self._unwritten: dict[str, Target | None] = {}
        self._targets: dict[str, Target] = {}
        self.adopt(self.read())

    def read(self) -> dict[str, Target]:
        """The aliases in the file, with the changes that could not be written; if the file is gone, as last read.

        Raises BundleError where the file cannot be read or understood.
        """
        try:
            targets = parsed(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            targets = self._targets
        except OSError as error:
            raise BundleError(f"{_FILE} cannot be read ({error.strerror}): let the server's user read it.") from error
        except ValueError as error:  # not UTF-8
            raise _not_understood() from error
        return _changed(targets, self._unwritten)

    def adopt(self, targets: Mapping[str, Target]) -> None:
        """Use these aliases from now on."""
        self._targets = dict(targets)

    def get(self, name: str) -> Target | None:
        return self._targets.get(name)

    def all(self) -> dict[str, Target]:
        return dict(self._targets)

    def set(self, name: str, target: Target | None) -> bool:
        """Let an alias stand for a target, or remove it (None). Returns whether that will outlive this process.

        Raises BundleError where the file cannot be understood, or another server holds its lock for too long.
        """
        with self._changing, self._locked():
            targets = _changed(self.read(), {name: target})
            written = self._write(targets)
            self._unwritten = {} if written else {**self._unwritten, name: target}
            self.adopt(targets)
        return written

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds the file lock of this model repository; goes on without one where the system or the folder has none."""
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
                os.close(lock)  # this releases it too

    def _write(self, targets: Mapping[str, Target]) -> bool:
        text = json.dumps({name: target.to_json() for name, target in targets.items()}, indent=1)
        try:
            self._path.parent.stat()  # a model repository that is gone, as an unmounted one, is not created anew
            write_atomically(self._path, text.encode())
        except OSError as error:
            log.warning("%s cannot be written (%s): the aliases will not outlive this process", _FILE, error.strerror)
            return False
        return True


def is_valid(name: str) -> bool:
    """Whether an alias may have this name: at most 64 letters, digits, `.`, `_` and `-`."""
    return is_name(name)


def _wait_for(lock: int) -> None:
    """Take the lock; go on without where the file system has none. Raises BundleError after the limit."""
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


def parsed(text: str) -> dict[str, Target]:
    """The aliases of a file's text. Raises BundleError where it cannot be understood."""
    try:
        return {name: _target(name, target) for name, target in json.loads(text).items() if is_valid(name)}
    except (ValueError, RecursionError, AttributeError) as error:
        raise _not_understood() from error


def _target(name: str, parsed: Any) -> Target:
    try:
        return from_json(parsed)
    except ValueError as error:
        raise _not_understood(f"of '{name}', {error}") from error
    except (AttributeError, TypeError, KeyError) as error:
        raise _not_understood() from error


def _not_understood(why: str = 'it must be like {"stable": {"model": "demo", "version": "1"}}') -> BundleError:
    return BundleError(f"{_FILE} cannot be understood: {why}. Repair it, or remove it to begin without aliases.")
