"""Sources: the files that the keys come from, and whether they have changed."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from server.keys.key import Key
from server.keys.key_file import KeysError, read_keys, read_small
from server.keys.keyring import Keyring

ADMIN_TOKEN = "admin token"
"""The name of the key that the admin token is. No key of a file can have it, because of the space."""

LEAST_CHARACTERS = 16  # of an admin token

Signature = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class Sources:
    """`keys`: a TOML file; None: requests need no key. The admin token is `admin_token` or what is in
    `admin_token_file`; without either, and where the file is empty, there is none.
    """

    keys: Path | None = None
    admin_token: str = ""
    admin_token_file: Path | None = None

    def read(self) -> Keyring:
        """All keys; the admin token is one that may do everything. Raises KeysError. May run in a thread."""
        keys = list(read_keys(self.keys)) if self.keys else []
        if token := self._token():
            keys.append(Key(ADMIN_TOKEN, sha256(token.encode("latin-1", "replace")).digest(), admin=True))
        return Keyring(keys)

    def signature(self) -> Signature:
        """Another one where a file has changed: modification time, size and inode of each. May run in a thread."""
        return tuple(_signature(path) for path in (self.keys, self.admin_token_file) if path)

    def _token(self) -> str:
        path = self.admin_token_file
        if path is None:
            return self.admin_token
        token = read_small(path).decode("utf-8", "replace").strip()
        if token and len(token) < LEAST_CHARACTERS:
            raise KeysError(
                f"{path}: an admin token must have at least {LEAST_CHARACTERS} characters: make one with 'openssl "
                "rand -hex 16'."
            )
        return token


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
