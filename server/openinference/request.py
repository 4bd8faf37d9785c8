"""InferRequest: what a client asks for, whichever face it came by. InferResponse: what it gets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.openinference import tensors
from server.scheduling.fair_queue import Priority

Buffer = bytes | memoryview

IMAGE, PIXELS, PROBABILITIES = "image", "pixels", "probabilities"
"""The names of the tensors. `image` and `pixels` are two ways to send the same: exactly one of them comes."""


@dataclass(frozen=True, slots=True)
class RegionPart:
    """Bytes of a shared memory region: its registered name, and which of its bytes."""

    region: str
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class InputTensor:
    """A tensor of a request. `content`: its bytes as in the binary tensor extension, or where they are; the elements of
    a BYTES tensor as a list.
    """

    name: str
    datatype: str
    shape: Sequence[int]
    content: Buffer | list[bytes] | RegionPart


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """How the client wants the probabilities: all, or the `classes` best ones as text. `region`: where to write them
    instead of into the answer.
    """

    classes: int = 0
    region: RegionPart | None = None


@dataclass(frozen=True, slots=True)
class InferRequest:
    """`timeout_s`: None where the client sets no time limit."""

    model: str
    version: str
    inputs: Sequence[InputTensor]
    output: WantedOutput
    priority: Priority
    timeout_s: float | None
    id: str = ""


@dataclass(frozen=True, slots=True)
class InferResponse:
    """The one output: (n, classes) probabilities, or for each image the best classes as text.

    `written`: the part of a region that it was written to; the answer then has no data.
    """

    model: str
    version: str
    id: str
    values: NDArray[np.float32] | list[list[str]]
    written: RegionPart | None = None

    @property
    def datatype(self) -> str:
        return "BYTES" if isinstance(self.values, list) else "FP32"

    @property
    def shape(self) -> list[int]:
        if isinstance(self.values, list):
            return [len(self.values), len(self.values[0])]
        return list(self.values.shape)

    def raw(self) -> bytes:
        """The data as the binary tensor extension has it: little-endian, row by row."""
        if isinstance(self.values, list):
            return tensors.from_elements(text.encode() for row in self.values for text in row)
        return self.values.astype("<f4", copy=False).tobytes()
