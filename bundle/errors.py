"""Errors: a bundle that cannot be used, and a photo that is not accepted."""


class BundleError(Exception):
    """A bundle, its manifest or its labels cannot be used. The message is a sentence: the fault, and the cure."""


class ImageError(Exception):
    """A photo that is not accepted. The message is a sentence with the cure. `code` is the error's name in the API."""

    code: str


class UnsupportedType(ImageError):
    """The file is not a JPEG, PNG or WebP."""

    code = "unsupported_type"


class BadImage(ImageError):
    """The file is truncated or corrupt, or would take a decoder too much time or memory."""

    code = "bad_image"


class TooManyPixels(ImageError):
    """The header states more pixels than are allowed."""

    code = "too_many_pixels"


class Animated(ImageError):
    """The file has more than one frame."""

    code = "animated"
