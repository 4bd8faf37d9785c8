"""Compose network: the certificates, and what the settings say of who may reach REST from where."""

from server.network.certificates import Certificates
from server.network.proxies import Proxies
from server.rest.reach import Reach
from server.settings import Settings


def compose_certificates(settings: Settings) -> Certificates | None:
    """None without TLS. Raises TlsError."""
    files = settings.tls_files()
    return Certificates(files) if files else None


def compose_reach(settings: Settings) -> Reach:
    origins = (origin.strip() for origin in settings.cors_origins.split(","))
    return Reach(
        cors_origins=frozenset(filter(None, origins)),
        root_path=settings.root_path,
        proxies=Proxies(settings.trusted_proxies) if settings.trusted_proxies else None,
        admin_apart=isinstance(settings.admin_port, int),
    )
