"""Reach: who may reach REST from where, and under which address."""

from dataclasses import dataclass

from server.network.proxies import Proxies


@dataclass(frozen=True)
class Reach:
    """`cors_origins`: those whose pages may call; `*` for all. `root_path`: what a proxy takes off. `admin_apart`:
    `/admin` and `/metrics` have an application of their own. Without `proxies` no header is believed.
    """

    cors_origins: frozenset[str] = frozenset()
    root_path: str = ""
    proxies: Proxies | None = None
    admin_apart: bool = False
