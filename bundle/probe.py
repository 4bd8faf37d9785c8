"""Probe: a bundle's reference answers. Every engine is checked against them when it starts."""

import io
from dataclasses import dataclass
from threading import Lock

import numpy as np

from bundle.errors import BundleError
from bundle.images import Pixels
from bundle.predictions import Probabilities

# NumPy reads an array's header with `ast.literal_eval`. Python 3.11 counts that function's depth once for all threads,
# so two threads that read at once can fail with a SystemError (python/cpython#106905).
_reading = Lock()


@dataclass(frozen=True)
class Probe:
    """The content of `probe.npz`.

    `pixels` are (n, height, width, 3) uint8, `probabilities` (n, classes) float32: those of the network in torch, fp32.
    """

    pixels: Pixels
    probabilities: Probabilities

    def to_bytes(self) -> bytes:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, pixels=self.pixels, probabilities=self.probabilities)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Probe":
        """Raises BundleError when the file is damaged or an array is missing."""
        try:
            with _reading, np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                probe = cls(arrays["pixels"], arrays["probabilities"])
        except Exception as error:  # numpy raises ValueError, KeyError, BadZipFile …
            raise BundleError(f"probe.npz cannot be read ({error}): export the bundle again.") from error
        return probe

    def check_shapes(self, height: int, width: int, classes: int) -> None:
        """Raises BundleError where the arrays do not match a network with such inputs and outputs."""
        pixels, probabilities = self.pixels, self.probabilities
        if not len(pixels) or pixels.shape != (len(pixels), height, width, 3) or pixels.dtype != np.uint8:
            raise BundleError(
                f"probe.npz has pixels of shape {pixels.shape} and the manifest needs (n, {height}, {width}, 3) uint8: "
                "export the bundle again."
            )
        if probabilities.shape != (len(pixels), classes) or probabilities.dtype != np.float32:
            raise BundleError(
                f"probe.npz has answers of shape {probabilities.shape} and the manifest needs (n, {classes}) float32: "
                "export the bundle again."
            )
        if not np.allclose(probabilities.sum(1), 1, atol=1e-3):  # NaN fails too
            raise BundleError("probe.npz has answers that are not probabilities: export the bundle again.")
