"""What can be wrong with a bundle, and with a photo."""


class BundleError(Exception):
    """A bundle, its manifest or its labels cannot be used; the message says what is wrong and the cure."""


class ImageError(Exception):
    """A photo that is not accepted, for its own caller only. `code` is the error's name in the API."""

    code: str


class UnsupportedType(ImageError):
    """Not JPEG, PNG or WebP."""

    code = "unsupported_type"


class BadImage(ImageError):
    """Truncated, corrupt, or made to exhaust a decoder."""

    code = "bad_image"


class TooManyPixels(ImageError):
    """More pixels than the limit, by its own header."""

    code = "too_many_pixels"


class Animated(ImageError):
    """More than one frame."""

    code = "animated"
