"""Request secret: what a request shows that its client has, an API key or the admin token."""

from starlette.types import Scope

from server.keys.keyring import secret_of
from server.rest.request_head import header


def secret_in(scope: Scope) -> str:
    """What the headers have as a secret; empty where they have none. A secret in the address does not count."""
    return secret_of(header(scope, b"authorization"), header(scope, b"x-api-key"))
