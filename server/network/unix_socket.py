"""UnixSocket: a listening socket that is a file, which is there as long as the server."""

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from server.host.listening import BACKLOG, CannotListen

_MODE = 0o660  # for the server's user and its group, such as a proxy's


class UnixSocket:
    """Only the process that has opened it closes it: others inherit `listener` alone."""

    def __init__(self, path: Path) -> None:
        """Replaces a socket file that a server has left. Raises CannotListen if anything else is there."""
        self.path = path
        try:
            with _locked(path.parent):
                _remove_stale(path)
                self.listener = _listen(path)
                self._file = path.lstat().st_ino
        except OSError as error:
            why = error.strerror or str(error)
            raise CannotListen(f"HTTP cannot listen on {path} ({why}): choose another path with --uds") from error

    def close(self) -> None:
        """Remove the file, if it is still this one."""
        self.listener.close()
        with contextlib.suppress(OSError), _locked(self.path.parent):
            if self.path.lstat().st_ino == self._file:
                self.path.unlink()


def _listen(path: Path) -> socket.socket:
    """Nobody can connect before `listen`, so the mode holds for everybody."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(_MODE)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListen(f"{path} is there, and is not a socket: choose another path with --uds")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise CannotListen(f"Another server listens on {path}: end it, or choose another path with --uds")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two servers that start at a time must not both take the same file for stale."""
    import fcntl  # not on Windows

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
