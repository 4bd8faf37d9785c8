"""Problems: every ServingError as an HTTP status and a problem document (RFC 9457)."""

import asyncio
import math
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.errors import Code, ServingError
from server.rest.contract.classification import ProblemDocument

STATUS: dict[Code, HTTPStatus] = {
    Code.MALFORMED: HTTPStatus.BAD_REQUEST,
    Code.UNAUTHORIZED: HTTPStatus.UNAUTHORIZED,
    Code.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Code.UNKNOWN_MODEL: HTTPStatus.NOT_FOUND,
    Code.UNKNOWN_PATH: HTTPStatus.NOT_FOUND,
    Code.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    Code.SLOW_BODY: HTTPStatus.REQUEST_TIMEOUT,
    Code.SLOW_HEADERS: HTTPStatus.REQUEST_TIMEOUT,
    Code.HEADERS_TOO_LARGE: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    Code.CONFLICT: HTTPStatus.CONFLICT,
    Code.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Code.UNSUPPORTED_TYPE: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Code.BAD_IMAGE: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.TOO_MANY_PIXELS: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.ANIMATED: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.DECODE_LIMIT: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.NOT_EXPLAINABLE: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.QUEUE_FULL: HTTPStatus.TOO_MANY_REQUESTS,
    Code.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    Code.ENGINE_FAILED: HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.NOT_READY: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.DRAINING: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.DEADLINE: HTTPStatus.GATEWAY_TIMEOUT,
}
CLIENT_GONE = 499
"""nginx's status for a client that disconnected before the answer. Only the log shows it."""

_DISCARDED_BYTES = 64 << 20


def problem_document(error: ServingError) -> ProblemDocument:
    """The body: what happened (`title`, `code`), and to this request (`detail`)."""
    status = STATUS[error.code]
    detail = error.detail.encode("utf-8", "replace").decode()  # it may quote half a surrogate pair from JSON
    return ProblemDocument(title=status.phrase, status=int(status), code=error.code, detail=detail)


class ErrorResponse(Response):
    """The answer to a request that failed as a whole: its status and headers. What its body is, subclasses say."""

    def __init__(self, error: ServingError, headers: dict[str, str] | None = None) -> None:
        headers = dict(headers or {})
        if error.retry_after_s is not None:  # whole seconds, says RFC 9110
            headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
        if error.code is Code.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        super().__init__(self.content(error), STATUS[error.code], headers)

    def content(self, error: ServingError) -> bytes:
        raise NotImplementedError


class ProblemResponse(ErrorResponse):
    """The error as a problem document."""

    media_type = "application/problem+json"

    def content(self, error: ServingError) -> bytes:
        return problem_document(error).model_dump_json().encode()


def raw_problem(error: ServingError) -> bytes:
    """The whole HTTP response to what never becomes a request. The connection closes after it."""
    problem = ProblemResponse(error, {"Connection": "close", "X-Content-Type-Options": "nosniff"})
    status = STATUS[error.code]
    lines = [f"HTTP/1.1 {int(status)} {status.phrase}".encode()]
    lines += [b"%s: %s" % header for header in problem.raw_headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + bytes(problem.body)


class ClosingResponse(Response):
    """The answer to a request whose body was not read to its end. The connection closes after it.

    A client that is still sending would get a connection reset before it reads the answer. So the server goes on
    reading for a while and discards what comes, unless the client waits for "100 Continue" and has sent nothing.
    """

    def __init__(self, response: Response, discard_s: float) -> None:
        super().__init__(response.body, response.status_code)
        self.raw_headers = [*response.raw_headers, (b"connection", b"close")]
        self._discard_s = discard_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        waits = any(name == b"expect" for name, _ in scope["headers"])
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        if not waits:
            await _discard(receive, self._discard_s)
        await send({"type": "http.response.body", "body": b""})


async def _discard(receive: Receive, limit_s: float) -> None:
    left = _DISCARDED_BYTES
    try:
        async with asyncio.timeout(limit_s):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
    except TimeoutError:
        return
