"""Proxies: which peers may say in whose name they send a request, and whose address that gives."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

UNIX = "unix"
_HOPS = 32
"""So many addresses are looked at, from the right: what a client writes in front of them costs nothing."""

_ADDRESS_CHARACTERS = 64

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Proxies:
    """The trusted ones. Addresses are texts, as sockets and headers have them."""

    def __init__(self, text: str) -> None:
        """`text`: IP networks with commas between them; `unix` for whoever connects to the Unix socket.

        Raises ValueError, whose message says what a network looks like.
        """
        items = [item.strip() for item in text.split(",") if item.strip()]
        self._unix = UNIX in items
        self._networks = [_network(item) for item in items if item != UNIX]
        self._trusts = lru_cache(maxsize=1024)(self._is_within)

    def all_addresses(self) -> bool:
        """Whether somebody could come from any address and be believed."""
        return any(network.prefixlen == 0 for network in self._networks)

    def trusts(self, peer: str | None) -> bool:
        """Whether the peer of a connection may speak for others; None stands for a Unix socket."""
        if peer is None:
            return self._unix
        address = _address(peer)
        return address is not None and self._trusts(address)

    def client(self, peer: str | None, forwarded: Sequence[str]) -> str | None:
        """The address of the client whose request came from `peer` with these X-Forwarded-For headers, in their order.

        That is the right-most address that is no trusted proxy's. What is not an address ends the search, because
        nobody can be believed who is named left of it: the last proxy that was found stands for the client then.
        """
        if not self.trusts(peer):
            return peer
        found = peer
        for text in _from_the_right(forwarded):
            address = _address(text)
            if address is None:
                return found
            found = str(address)
            if not self._trusts(address):
                return found
        return found

    def _is_within(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _from_the_right(headers: Sequence[str]) -> Iterable[str]:
    left = _HOPS
    for header in reversed(headers):
        items = header.rsplit(",", left)
        for item in reversed(items[1:] if len(items) > left else items):
            yield item
            left -= 1
        if left <= 0:
            return


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(
            f"trusted_proxies has {text!r}: give IP networks such as 10.0.0.0/8 or fd00::/8, single addresses, or unix"
        ) from error


def _address(text: str) -> Address | None:
    """With or without a port, as proxies write it. An IPv4 address within an IPv6 one is that IPv4 address."""
    text = text.strip()
    if len(text) > _ADDRESS_CHARACTERS:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
