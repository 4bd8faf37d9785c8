"""`python -m server new-key NAME`: makes a secret. It is shown once; the key file has only its SHA-256."""

import hashlib
import secrets
import sys
from collections.abc import Sequence

from server.keys.key_file import is_name

PREFIX = "ssm_"
"""So that people, and programs that look for leaked secrets, recognise ours."""

_BYTES = 24  # 192 bits: too many to guess, so a plain hash of it is safe to keep


def main(arguments: Sequence[str]) -> int:
    """Writes the table for the key file to standard output, and the secret to standard error, so that
    `new-key NAME >> keys.toml` adds the one and shows the other. Returns the exit code.
    """
    if len(arguments) != 1 or not is_name(arguments[0]):
        sys.stderr.write(
            "usage: python -m server new-key NAME\n"
            "NAME: 1 to 64 letters, digits, '.', '_' and '-'; it says whose key it is, and is in the metrics.\n"
        )
        return 2
    secret = new_secret()
    sys.stderr.write(f"The secret of '{arguments[0]}', which is shown only now:\n{secret}\n")
    sys.stdout.write(table(arguments[0], secret))
    return 0


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(_BYTES)


def table(name: str, secret: str) -> str:
    """What the key file says of it. Without limits, for all models."""
    return f'\n[[key]]\nname = "{name}"\nsha256 = "{hashlib.sha256(secret.encode()).hexdigest()}"\n'
