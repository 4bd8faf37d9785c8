"""Inputs: the images in the tensors of a request."""

import math
from collections.abc import Sequence

import numpy as np

from server.errors import Code, ServingError
from server.openinference import tensors
from server.openinference.request import IMAGE, PIXELS, InputTensor, RegionPart
from server.service import Images

_CHANNELS = 3
_MOST_VALUES = 1_000_000
"""That a request may send one by one instead of as bytes: 6 pictures of 224 x 224 pixels. To read more would hold up
the server: tens of milliseconds in which no other thread may run.
"""


def check_values(count: int) -> None:
    """Raises ServingError MALFORMED where a request has too many numbers that are to be read one by one."""
    if count > _MOST_VALUES:
        raise ServingError(
            Code.MALFORMED, f"The request has more than {_MOST_VALUES} values: send the tensor as bytes (binary, raw)."
        )


def images(inputs: Sequence[InputTensor], most: int) -> Images:
    """The files of `image`, or the pixels of `pixels` as a view of their bytes.

    Raises ServingError MALFORMED where not exactly one of the two came, its shape and its data do not match, or it has
    more than `most` images.
    """
    if len(inputs) != 1 or inputs[0].name not in (IMAGE, PIXELS):
        raise ServingError(Code.MALFORMED, f"Send exactly one of the inputs '{IMAGE}' and '{PIXELS}'.")
    (given,) = inputs
    _check_shape(given, most)
    return _files(given) if given.name == IMAGE else _pixels(given)


def _check_shape(given: InputTensor, most: int) -> None:
    wanted, datatype = (
        ("[n] or [n, 1]", "BYTES") if given.name == IMAGE else (f"[n, height, width, {_CHANNELS}]", "UINT8")
    )
    if given.datatype != datatype:
        raise ServingError(
            Code.MALFORMED, f"The input '{given.name}' has the datatype '{given.datatype[:16]}': it must be {datatype}."
        )
    shape = list(given.shape)
    fits = shape[1:] in ([], [1]) if given.name == IMAGE else len(shape) == 4 and shape[3] == _CHANNELS
    if not shape or not fits or min(shape) < 1:
        raise ServingError(Code.MALFORMED, f"The input '{given.name}' must have the shape {wanted}.")
    if shape[0] > most:
        raise ServingError(Code.MALFORMED, f"{shape[0]} images in one request: send at most {most}.")


def _files(given: InputTensor) -> list[bytes]:
    if isinstance(given.content, list):
        if len(given.content) != given.shape[0]:
            raise ServingError(
                Code.MALFORMED,
                f"The input '{given.name}' has {len(given.content)} elements, and {given.shape[0]} in its shape.",
            )
        return given.content
    assert not isinstance(given.content, RegionPart), "a region is read before. This is a bug."
    return tensors.elements(given.content, given.shape[0], given.name)


def _pixels(given: InputTensor) -> Images:
    assert isinstance(given.content, bytes | memoryview), "a face makes bytes of pixels. This is a bug."
    wanted = math.prod(given.shape)
    if len(given.content) != wanted:
        raise ServingError(
            Code.MALFORMED,
            f"The input '{given.name}' has {len(given.content)} bytes: its shape needs {wanted}.",
        )
    return np.frombuffer(given.content, np.uint8).reshape(given.shape)
