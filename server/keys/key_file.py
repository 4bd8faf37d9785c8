"""Key file: reads the keys of an operator's TOML file. Whatever is not understood is an error."""

import hashlib
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from server.keys.key import Key

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_OF_NOTHING = hashlib.sha256(b"").digest()
_FIELDS = ("name", "sha256", "rate", "burst", "quota_per_day", "admin", "metrics", "models")
_MOST = 1_000_000_000
_FILE_BYTES = 4 << 20


class KeysError(Exception):
    """The keys cannot be used. The message says which file and key, and the cure."""


def is_name(text: object) -> bool:
    """Whether a key can have this name."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file, in its order. Raises KeysError."""
    content = read_small(path)
    try:
        document = tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise KeysError(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise KeysError(f"{path}: {error}: each key is a table [[key]] of TOML.") from None
    try:
        return _keys(document)
    except KeysError as error:
        raise KeysError(f"{path}: {error}") from None


def read_small(path: Path) -> bytes:
    """The content of a file of at most 4 MiB. Raises KeysError."""
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES + 1)
    except OSError as error:
        raise KeysError(f"{path} cannot be read ({error.strerror}): let the server's user read it.") from None
    if len(content) > _FILE_BYTES:
        raise KeysError(f"{path} has more than {_FILE_BYTES} bytes: is it the right file?")
    return content


def _keys(document: Mapping[str, Any]) -> tuple[Key, ...]:
    if unknown := document.keys() - {"key"}:
        raise KeysError(f"there is no '{min(unknown)}': the file has only tables [[key]].")
    tables = document.get("key", [])
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise KeysError("it has no key: add a table [[key]], which 'python -m server new-key NAME' prints.")
    keys = tuple(_key(number, table) for number, table in enumerate(tables, 1))
    _refuse_equal(keys)
    return keys


def _refuse_equal(keys: Sequence[Key]) -> None:
    names: set[str] = set()
    digests: dict[bytes, str] = {}
    for key in keys:
        if key.name in names:
            raise KeysError(f"two keys have the name '{key.name}': give each its own.")
        if other := digests.get(key.digest):
            raise KeysError(f"the keys '{other}' and '{key.name}' have the same sha256: make a secret for each.")
        names.add(key.name)
        digests[key.digest] = key.name


def _key(number: int, table: Mapping[str, Any]) -> Key:
    name = table.get("name")
    if not is_name(name):
        raise KeysError(f"key {number}: name must be 1 to 64 letters, digits, '.', '_' and '-'.")
    try:
        return _described(str(name), table)
    except KeysError as error:
        raise KeysError(f"key {number}, '{name}': {error}") from None


def _described(name: str, table: Mapping[str, Any]) -> Key:
    if unknown := table.keys() - set(_FIELDS):
        raise KeysError(f"there is no field '{min(unknown)}': the fields are {', '.join(_FIELDS)}.")
    rate = _number(table, "rate")
    burst = _whole(table, "burst")
    if burst and not rate:
        raise KeysError("burst without rate limits nothing: give rate too, in images a second.")
    return Key(
        name,
        _digest(table),
        rate,
        burst or math.ceil(rate),
        _whole(table, "quota_per_day"),
        _switch(table, "admin"),
        _switch(table, "metrics"),
        _models(table),
    )


def _digest(table: Mapping[str, Any]) -> bytes:
    text = table.get("sha256")
    if not isinstance(text, str) or not _DIGEST.fullmatch(text.lower()):
        raise KeysError("sha256 must be 64 hexadecimal digits: 'python -m server new-key NAME' prints them.")
    digest = bytes.fromhex(text)
    if digest == _OF_NOTHING:
        raise KeysError("sha256 is that of an empty secret: 'python -m server new-key NAME' makes a real one.")
    return digest


def _number(table: Mapping[str, Any], name: str) -> float:
    value = table.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST:
        raise KeysError(f"{name} must be a number from 0 to {_MOST}; 0: no limit.")
    return float(value)


def _whole(table: Mapping[str, Any], name: str) -> int:
    value = table.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        raise KeysError(f"{name} must be a whole number from 0 to {_MOST}; 0: no limit of its own.")
    return value


def _switch(table: Mapping[str, Any], name: str) -> bool:
    value = table.get(name, False)
    if not isinstance(value, bool):
        raise KeysError(f"{name} must be true or false.")
    return value


def _models(table: Mapping[str, Any]) -> frozenset[str] | None:
    value = table.get("models")
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise KeysError('models must be a list of names, such as ["demo"]; without it the key may use all.')
    return frozenset(value)
