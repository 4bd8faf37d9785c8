"""Status: every ServingError in gRPC's terms."""

import math

import grpc

from server.errors import Code, ServingError

STATUS: dict[Code, grpc.StatusCode] = {
    Code.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Code.UNKNOWN_MODEL: grpc.StatusCode.NOT_FOUND,
    Code.TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.UNSUPPORTED_TYPE: grpc.StatusCode.INVALID_ARGUMENT,
    Code.BAD_IMAGE: grpc.StatusCode.INVALID_ARGUMENT,
    Code.TOO_MANY_PIXELS: grpc.StatusCode.INVALID_ARGUMENT,
    Code.ANIMATED: grpc.StatusCode.INVALID_ARGUMENT,
    Code.DECODE_LIMIT: grpc.StatusCode.INVALID_ARGUMENT,
    Code.QUEUE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.ENGINE_FAILED: grpc.StatusCode.INTERNAL,
    Code.INTERNAL: grpc.StatusCode.INTERNAL,
    Code.NOT_READY: grpc.StatusCode.UNAVAILABLE,
    Code.DRAINING: grpc.StatusCode.UNAVAILABLE,
    Code.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
}
HTTP_ONLY = frozenset(
    {
        Code.UNKNOWN_PATH,
        Code.METHOD,
        Code.SLOW_BODY,
        Code.SLOW_HEADERS,
        Code.HEADERS_TOO_LARGE,
        Code.NO_KEY,
        Code.WRONG_KEY,
        Code.CONFLICT,
    },
)
"""Errors that gRPC itself answers in its own way, or that only /admin has."""

_PUSHBACK = frozenset({Code.QUEUE_FULL, Code.NOT_READY})
"""Errors after which the same server should be tried again, and when."""


def trailers(error: ServingError) -> tuple[tuple[str, str], ...]:
    """What goes into the call's trailing metadata: the code, and when to try again."""
    code = (("sesame-code", error.code.value),)
    if error.code not in _PUSHBACK or error.retry_after_s is None:
        return code
    return (*code, ("grpc-retry-pushback-ms", str(math.ceil(error.retry_after_s * 1e3))))
