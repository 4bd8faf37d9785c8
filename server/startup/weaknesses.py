"""Weaknesses: the settings that let in more than the default does, each with one line in the log at the start."""

import ipaddress
import logging
from collections.abc import Iterator

from server.network.proxies import Proxies
from server.settings import Settings

log = logging.getLogger(__name__)


def warn_of_weaknesses(settings: Settings) -> None:
    """One warning for each. Called once, in the process that was started by hand."""
    for weakness in weaknesses(settings):
        log.warning("%s", weakness)


def weaknesses(settings: Settings) -> Iterator[str]:
    """Each with what would be safer."""
    if "*" in {origin.strip() for origin in settings.cors_origins.split(",")}:
        yield "cors_origins is *: pages of every origin may call this server from a browser; name those that shall"
    if Proxies(settings.trusted_proxies).all_addresses():
        yield "trusted_proxies has all addresses: any client can say that it is another one; name your proxies"
    if settings.tls_cert:
        return
    has_port = isinstance(settings.admin_port, int)
    host = settings.admin_host if has_port else settings.host
    if not _is_loopback(host) and settings.admin_token:
        yield f"the admin token crosses the network as plain text ({host}): set tls_cert and tls_key, or admin_port"
    elif has_port and not _is_loopback(host):
        yield f"the admin port is open to the network as plain text ({host}): set tls_cert and tls_key"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
