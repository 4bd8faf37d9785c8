"""Peers: who calls, by address; behind a trusted proxy, the client that the proxy names."""

from urllib.parse import unquote

from server.network.proxies import Proxies
from server.rpc.status import Context


class Peers:
    """Used on the event loop."""

    def __init__(self, proxies: Proxies | None) -> None:
        """Without `proxies` no metadata is believed."""
        self._proxies = proxies

    def address(self, context: Context) -> str | None:
        """The IP address of the client; None where it is not known, as over a Unix socket."""
        peer = _address_of(context.peer())
        if self._proxies is None or not self._proxies.trusts(peer):
            return peer
        return self._proxies.client(peer, _forwarded(context))

    def connection(self, context: Context) -> str:
        """What tells one client from another: the connection, or the address where a trusted proxy shares one."""
        peer: str = context.peer()
        if self._proxies is None:
            return peer
        address = self.address(context)
        return peer if address is None or address == _address_of(peer) else address


def _forwarded(context: Context) -> list[str]:
    given = context.invocation_metadata() or ()
    return [str(value) for name, value in given if name == "x-forwarded-for"]


def _address_of(peer: str) -> str | None:
    """gRPC writes `ipv4:127.0.0.1:5000`, `ipv6:%5B::1%5D:5000` and `unix:`."""
    kind, _, rest = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    return rest.rpartition(":")[0].strip("[]")
