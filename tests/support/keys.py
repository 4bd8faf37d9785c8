"""Keys of tests: their file, and the headers that carry a secret."""

import hashlib
from pathlib import Path
from typing import Any


def secret(name: str) -> str:
    """What a client with the key of that name sends."""
    return f"ssm_{name}_of_a_test_and_long_enough"


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret(name)}"}


def table(name: str, **fields: Any) -> str:
    """One [[key]] of the file. Values are written as TOML has them."""
    digest = hashlib.sha256(secret(name).encode()).hexdigest()
    lines = [f'name = "{name}"', f'sha256 = "{digest}"', *(f"{key} = {_toml(value)}" for key, value in fields.items())]
    return "\n".join(["[[key]]", *lines, ""])


def write(path: Path, *tables: str) -> Path:
    """Replace the file as operators should: by a rename, so that nobody reads half of it."""
    new = path.with_suffix(".new")
    new.write_text("\n".join(tables))
    new.replace(path)
    return path


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).replace("'", '"')
