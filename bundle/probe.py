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
        return probe

    def demand_fit(self, height: int, width: int, classes: int) -> None:
        """Raises BundleError where the arrays are not those of a network with such inputs and outputs."""
        pixels, probabilities = self.pixels, self.probabilities
        if not len(pixels) or pixels.shape != (len(pixels), height, width, 3) or pixels.dtype != np.uint8:
            raise BundleError(
                f"probe.npz holds pixels {pixels.shape} and the manifest wants (n, {height}, {width}, 3)."
            )
        if probabilities.shape != (len(pixels), classes) or probabilities.dtype != np.float32:
            raise BundleError(
                f"probe.npz holds answers {probabilities.shape}, not (n, {classes}) as the manifest says."
            )
        if not np.allclose(probabilities.sum(1), 1, atol=1e-3):  # NaN fails too
            raise BundleError("probe.npz holds answers that are no probabilities: export the bundle again.")
