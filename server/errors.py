"""ServingError: an error that a client is told, with one code.

REST translates every code, gRPC all but the five that only HTTP has (`server.rpc.status.HTTP_ONLY`).
"""

from enum import StrEnum

from bundle.errors import ImageError


class Code(StrEnum):
    """The names of the errors in the API: `code` of a problem document, `sesame-code` of a gRPC trailer."""

    MALFORMED = "malformed"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_PATH = "unknown_path"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    SLOW_BODY = "slow_body"
    SLOW_HEADERS = "slow_headers"
    HEADERS_TOO_LARGE = "headers_too_large"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    UNSUPPORTED_TYPE = "unsupported_type"
    BAD_IMAGE = "bad_image"
    TOO_MANY_PIXELS = "too_many_pixels"
    ANIMATED = "animated"
    DECODE_LIMIT = "decode_limit"
    NOT_EXPLAINABLE = "not_explainable"
    QUEUE_FULL = "queue_full"
    RATE_LIMITED = "rate_limited"
    ENGINE_FAILED = "engine_failed"
    INTERNAL = "internal"
    NOT_READY = "not_ready"
    DRAINING = "draining"
    DEADLINE = "deadline"


PER_IMAGE = frozenset(
    {
        Code.TOO_LARGE,
        Code.UNSUPPORTED_TYPE,
        Code.BAD_IMAGE,
        Code.TOO_MANY_PIXELS,
        Code.ANIMATED,
        Code.DECODE_LIMIT,
    },
)
"""Errors of one image. Among several images of a request, only that one fails."""


class ServingError(Exception):
    """A request, or one image of it, failed. `detail` is for the client: what is wrong, and what to do about it.

    An error that was raised refers to the frames it went through, and so to the photo. To keep one, keep `fresh()`.
    """

    def __init__(self, code: Code, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s

    def fresh(self) -> "ServingError":
        """The same error without the frames."""
        return ServingError(self.code, self.detail, self.retry_after_s)

    @classmethod
    def of_image(cls, error: ImageError) -> "ServingError":
        return cls(Code(error.code), str(error))


def internal() -> ServingError:
    """What a client is told of a bug. The log has the rest."""
    return ServingError(Code.INTERNAL, "The server made a mistake; its log has the details.")
