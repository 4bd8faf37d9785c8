"""Caller key: the secret in a call's metadata, and the key that it opens."""

from server.keys.access import Access
from server.keys.key import Key
from server.keys.keyring import secret_of
from server.rpc.status import Context


def key_of(context: Context, access: Access | None, takes_images: bool = False) -> Key | None:
    """None where the server needs no key. Raises ServingError: UNAUTHORIZED, and RATE_LIMITED for a call with images
    that is known to come too soon.
    """
    if access is None:
        return None
    key = access.key_of(secret_in(context))
    if takes_images:
        access.refuse_spent(key)
    return key


def secret_in(context: Context) -> str:
    """What the metadata has as the call's secret; empty where it has none."""
    metadata = {str(name): value for name, value in context.invocation_metadata() or ()}
    return secret_of(_text(metadata.get("authorization")), _text(metadata.get("x-api-key")))


def _text(value: str | bytes | None) -> str | None:
    return value.decode("latin-1") if isinstance(value, bytes) else value
