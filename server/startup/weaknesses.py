"""Weaknesses: the settings that let in more than the default does, each with one line in the log at the start."""

import ipaddress
import logging
from collections.abc import Iterator

from server.network.proxies import Proxies
from server.settings import Settings

log = logging.getLogger(__name__)


def warn_of_weaknesses(settings: Settings, has_secrets: bool) -> None:
    """One warning for each. Called once, in the process that was started by hand. `has_secrets`: whether there are keys
    or an admin token.
    """
    for weakness in weaknesses(settings, has_secrets):
        log.warning("%s", weakness)


def weaknesses(settings: Settings, has_secrets: bool) -> Iterator[str]:
    """Each with what would be safer."""
    if "*" in {origin.strip() for origin in settings.cors_origins.split(",")}:
        yield "cors_origins is *: pages of every origin may call this server from a browser; name those that shall"
    if Proxies(settings.trusted_proxies).all_addresses():
        yield "trusted_proxies has all addresses: any client can say that it is another one; name your proxies"
    if settings.keys and not settings.metrics_need_key:
        yield "metrics_need_key is off: anybody may read the names of all keys, and what each does"
    if settings.tls_cert:
        return
    has_port = isinstance(settings.admin_port, int)
    host = settings.admin_host if has_port and not settings.keys else settings.host
    if has_secrets and not _is_loopback(host):
        yield (
            f"the secrets of keys and operators cross the network as plain text ({host}): set tls_cert and tls_key, or "
            "let a proxy that has them stand in front"
        )
    if has_port and not _is_loopback(settings.admin_host):
        yield f"the admin port is open to the network as plain text ({settings.admin_host}): set tls_cert and tls_key"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
