"""Names: what a model and its bundle may be called."""

import re

from bundle.errors import BundleError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""A folder has this name, and so has a path of the REST API: no slash, no leading dot."""


def is_name(name: str) -> bool:
    """Whether a model can have that name."""
    return NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Raises BundleError where a bundle cannot have that name."""
    if not is_name(name):
        raise BundleError(
            f"'{name}' cannot name a bundle: use up to 64 letters, digits, dots, dashes and underscores, "
            "beginning with a letter or a digit."
        )
