"""Probe: inputs with the probabilities that the torch network gave them, against which every engine is checked."""

import io
from dataclasses import dataclass

import numpy as np

from bundle.errors import BundleError
from bundle.images import Pixels
from bundle.predictions import Probabilities


@dataclass(frozen=True)
class Probe:
    """`probe.npz`: Pixels (n, height, width, 3) and their fp32 probabilities (n, classes)."""

    pixels: Pixels
    probabilities: Probabilities

    def to_bytes(self) -> bytes:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, pixels=self.pixels, probabilities=self.probabilities)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Probe":
        """Raises BundleError when the arrays are missing or do not belong together."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                probe = cls(arrays["pixels"], arrays["probabilities"])
        except Exception as error:  # numpy raises ValueError, KeyError, BadZipFile …
            raise BundleError(f"probe.npz cannot be read ({error}): export the bundle again.") from error
        if probe.pixels.ndim != 4 or probe.pixels.dtype != np.uint8 or len(probe.pixels) != len(probe.probabilities):
            raise BundleError("probe.npz holds arrays that do not belong together: export the bundle again.")
        return probe
