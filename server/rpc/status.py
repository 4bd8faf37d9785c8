"""Status: every ServingError as a gRPC status and trailing metadata."""

import math
from typing import Any, NoReturn

import grpc

from server.errors import Code, ServingError

Context = grpc.aio.ServicerContext[Any, Any]

STATUS: dict[Code, grpc.StatusCode] = {
    Code.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Code.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    Code.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    Code.UNKNOWN_MODEL: grpc.StatusCode.NOT_FOUND,
    Code.CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
    Code.TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.UNSUPPORTED_TYPE: grpc.StatusCode.INVALID_ARGUMENT,
    Code.BAD_IMAGE: grpc.StatusCode.INVALID_ARGUMENT,
    Code.TOO_MANY_PIXELS: grpc.StatusCode.INVALID_ARGUMENT,
    Code.ANIMATED: grpc.StatusCode.INVALID_ARGUMENT,
    Code.DECODE_LIMIT: grpc.StatusCode.INVALID_ARGUMENT,
    Code.NOT_EXPLAINABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Code.QUEUE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.ENGINE_FAILED: grpc.StatusCode.INTERNAL,
    Code.INTERNAL: grpc.StatusCode.INTERNAL,
    Code.NOT_READY: grpc.StatusCode.UNAVAILABLE,
    Code.DRAINING: grpc.StatusCode.UNAVAILABLE,
    Code.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
}
HTTP_ONLY = frozenset(
    {
        Code.UNKNOWN_PATH,
        Code.METHOD_NOT_ALLOWED,
        Code.SLOW_BODY,
        Code.SLOW_HEADERS,
        Code.HEADERS_TOO_LARGE,
    },
)
"""Errors that gRPC reports in its own way."""

_PUSHBACK = frozenset({Code.QUEUE_FULL, Code.RATE_LIMITED, Code.NOT_READY})
"""Errors after which the client should try the same server again, at a given time."""


def trailers(error: ServingError) -> tuple[tuple[str, str], ...]:
    """The call's trailing metadata: the code, and when to try again (gRFC A6)."""
    code = (("sesame-code", error.code.value),)
    if error.code not in _PUSHBACK or error.retry_after_s is None:
        return code
    return (*code, ("grpc-retry-pushback-ms", str(math.ceil(error.retry_after_s * 1e3))))


async def abort(context: Context, error: ServingError, told: tuple[tuple[str, str], ...] = ()) -> NoReturn:
    """End the call with an error. `told`: more trailing metadata."""
    await context.abort(STATUS[error.code], error.detail, (*trailers(error), *told))
    raise AssertionError("abort raises. This is a bug.")
