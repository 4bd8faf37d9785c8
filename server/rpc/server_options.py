"""Server options: gRPC's limits on connections, calls and messages."""

_WINDOW_BYTES = 64 << 10
"""So much of a message is received before a handler reads it: an ordinary photo fits, and a large one costs little."""

_CALLS = 128
"""Calls of one connection at a time, until their answers have been taken. The client holds back further ones. So
neither a burst of calls nor answers that nobody takes hold up other connections."""

_PENDING = 4096
"""Calls that gRPC keeps until they are handled. It would cancel further ones without a reason."""

_CONNECTION_AGE_MS = 300_000
"""Then clients connect anew; calls are not cut. A client that balances over several servers asks the DNS only when a
connection ends, so for so long it may not know of a server that was added. gRPC varies it by a tenth."""

_HANDSHAKE_MS = 10_000  # of TLS; gRPC's default is two minutes
_KEEPALIVE_MS = 120_000  # a peer that does not answer this ping is gone


def server_options(max_message_bytes: int, max_connections: int, shared_port: bool) -> tuple[tuple[str, int], ...]:
    """The options of the server, by the names in gRPC's `grpc_types.h`."""
    return (
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.so_reuseport", int(shared_port)),  # else two servers could share it, and neither would know of the other
        ("grpc.max_allowed_incoming_connections", max_connections),
        ("grpc.max_concurrent_streams", _CALLS),
        ("grpc.http.overload_protection", 0),  # it rejects calls within the limit, and without a code
        ("grpc.server.max_pending_requests", _PENDING),
        ("grpc.server.max_pending_requests_hard_limit", _PENDING),
        ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
        ("grpc.http2.bdp_probe", 0),  # it would enlarge the window
        ("grpc.max_connection_age_ms", _CONNECTION_AGE_MS),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
    )
