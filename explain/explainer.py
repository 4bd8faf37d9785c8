"""Explainer: a photo through an explained network, and what is told of it."""

from collections.abc import Sequence

import numpy as np

from bundle.headers import read_header
from bundle.images import decode, decode_whole
from bundle.labels import Label
from bundle.predictions import Prediction, Probabilities, top
from explain.class_map import class_map, overlay, seen_region
from explain.excitation import excitation
from explain.explanation import Explanation, Wanted
from explain.network import ExplainedNetwork

_OVERLAY_PIXELS = 1024  # of the longer side


def explain(network: ExplainedNetwork, photo: bytes, wanted: Wanted, max_pixels: int, exact: bool) -> Explanation:
    """`exact`: see `bundle.images.to_picture`.

    Raises ImageError for a photo that cannot be decoded, IndexError for a class that the network does not have.
    """
    bundle = network.bundle
    header = read_header(photo, max_pixels)
    picture = decode(photo, header, bundle.manifest.preprocessing, exact)
    inside = network.run(picture[np.newaxis])
    explained = _prediction(inside.probabilities[0], bundle.labels, wanted.class_index)
    found = drawn = None
    if inside.features is not None and network.weight is not None:
        region = seen_region(header, bundle.manifest.preprocessing)
        found = class_map(inside.features[0], network.weight[explained.index], region)
        drawn = overlay(decode_whole(photo, header, _OVERLAY_PIXELS), found) if wanted.overlay else None
    blocks = zip(network.blocks, inside.gates, strict=True)
    return Explanation(
        explained, found, tuple(excitation(block, gates[0], wanted.gates) for block, gates in blocks), drawn
    )


def _prediction(row: Probabilities, labels: Sequence[Label], index: int | None) -> Prediction:
    if index is None:
        return top(row, labels, 1)[0]
    return Prediction(index, labels[index].id, labels[index].name, float(row[index]))
