"""Map parity: how far the maps of a graph are from those of the torch network, at several sizes of the image."""

from collections.abc import Iterator, Sequence

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from bundle.images import Pixels
from export.errors import ExportError
from export.features.backbone import Backbone
from export.features.maps_graph import INPUT
from export.proving import samples
from models.evaluation import EvaluationTransform

MAX_ERROR = 1e-3
"""Largest allowed error of one value of a map, in parts of the map's root mean square.

Both sides compute in float32, which rounds by 6e-8 of a value. They add up the products of a convolution in different
orders, each layer passes the rounding on, and the largest values of a trained map are 16 times its root mean square.
docs/detectors.md has what was measured: 1.5e-4 at most. One of 9216 weights, wrong by a tenth of their mean, gives
3.5e-3.
"""
SIZES = ((2, 224, 224), (1, 256, 320), (1, 193, 330))
"""Images at once, height and width in pixels. Odd sides show how a layer rounds at the edges.

Halved and rounded up again and again, 193 stays odd, and 330 is odd and even by turns.
"""

Maps = tuple[NDArray[np.float32], ...]  # of each stage (n, channels, rows, columns)


def comparison_images(transform: EvaluationTransform) -> Iterator[Tensor]:
    """Generated images of each of SIZES, normalised: (n, 3, height, width) float32 RGB."""
    for count, height, width in SIZES:
        yield normalised(samples.generate(height, width)[1 : 1 + count], transform)


def normalised(pixels: Pixels, transform: EvaluationTransform) -> Tensor:
    """What a detector gives to the graph for these pixels."""
    mean, std = torch.tensor(transform.mean), torch.tensor(transform.std)
    return ((torch.from_numpy(pixels) - mean) / std).permute(0, 3, 1, 2).contiguous()


def torch_maps(backbone: Backbone, name: str, images: Sequence[Tensor]) -> list[Maps]:
    """The maps of each batch of images from the torch network.

    Raises ExportError where it cannot take images of that size, or gives a map that is zero everywhere.
    """
    try:
        with torch.inference_mode():
            found = [tuple(one.numpy() for one in backbone(batch)) for batch in images]
    except (AssertionError, RuntimeError) as error:  # a transformer's or torch's complaint about a size
        raise ExportError(
            f"A {name} cannot take images of {_size(images)} pixels, so it is no backbone of a detector "
            f"({' '.join(str(error).split())}): choose a network of convolutions, e.g. an SE-ResNet."
        ) from error
    for output, maps in zip(backbone.outputs, zip(*found, strict=True), strict=True):
        if not all(np.isfinite(one).all() and one.any() for one in maps):
            raise ExportError(
                f"The map {output} of the {name} is zero or not finite, so a comparison would prove nothing: its "
                "weights are not trained, or --mean and --std are wrong."
            )
    return found


def onnx_maps(model: bytes, outputs: list[str], images: Sequence[Tensor]) -> list[Maps]:
    """The maps of each batch of images from ONNX Runtime on the CPU."""
    onnxruntime.disable_telemetry_events()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return [tuple(session.run(outputs, {INPUT: batch.numpy()})) for batch in images]


def require_parity(outputs: list[str], reference: list[Maps], found: list[Maps]) -> float:
    """The largest error of all maps at all sizes.

    Raises ExportError where a map has another shape or an error above MAX_ERROR.
    """
    errors = [0.0]
    for ours, theirs in zip(reference, found, strict=True):
        for output, expected, given in zip(outputs, ours, theirs, strict=True):
            errors.append(error := _error(output, expected, given))
            if not error <= MAX_ERROR:  # also where it is not a number
                raise ExportError(
                    f"The graph's map {output} differs from the torch network's by {error:.2g} of its root mean square "
                    f"(allowed {MAX_ERROR:g}). Nothing was written. Very large weights can cause this; if there are "
                    "none, please report it with the checkpoint's name."
                )
    return max(errors)


def _error(output: str, reference: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    if reference.shape != found.shape:
        raise ExportError(
            f"The graph's map {output} is {found.shape} where the torch network's is {reference.shape}. Nothing was "
            "written. Please report it with the checkpoint's name."
        )
    scale = float(np.sqrt(np.square(reference, dtype=np.float64).mean()))
    return float(np.abs(reference - found).max()) / scale


def _size(images: Sequence[Tensor]) -> str:
    return ", ".join(f"{batch.shape[2]}x{batch.shape[3]}" for batch in images)
