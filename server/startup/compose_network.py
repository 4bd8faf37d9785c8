"""Compose network: what the settings say of who may reach REST from where."""

from server.network.proxies import Proxies
from server.rest.access import Access
from server.settings import Settings


def compose_access(settings: Settings) -> Access:
    origins = (origin.strip() for origin in settings.cors_origins.split(","))
    return Access(
        cors_origins=frozenset(filter(None, origins)),
        root_path=settings.root_path,
        proxies=Proxies(settings.trusted_proxies) if settings.trusted_proxies else None,
        admin_apart=isinstance(settings.admin_port, int),
    )
