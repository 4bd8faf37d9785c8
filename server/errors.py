"""ServingError: everything that a caller can be told went wrong, by one code. Each face translates every code."""

from enum import StrEnum

from bundle.errors import ImageError


class Code(StrEnum):
    """The names of the errors in the API: `code` of a problem document, `sesame-code` of a gRPC trailer."""

    MALFORMED = "malformed"
    NO_KEY = "no_key"
    WRONG_KEY = "wrong_key"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_PATH = "unknown_path"
    METHOD = "method"
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
    QUEUE_FULL = "queue_full"
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
"""Faults of one image: among several in a request they fail that one only."""


class ServingError(Exception):
    """A request, or one image of it, that gets no answer. `detail` is for the caller and says the cure.

    Whoever keeps one keeps the frames that it was raised in, and with them the photo: keep `fresh()` instead.
    """

    def __init__(self, code: Code, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s

    def fresh(self) -> "ServingError":
        """The same error, raised nowhere yet."""
        return ServingError(self.code, self.detail, self.retry_after_s)

    @classmethod
    def of_image(cls, error: ImageError) -> "ServingError":
        return cls(Code(error.code), str(error))
