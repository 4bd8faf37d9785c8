"""Explainer: a photo through an explained network, and what is told of it."""

import time
from collections.abc import Sequence

import numpy as np

from bundle.headers import read_header
from bundle.images import decode, decode_whole
from bundle.labels import Label
from bundle.predictions import Prediction, Probabilities, top, vote
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
    began_s = time.perf_counter()
    header = read_header(photo, max_pixels)
    picture = decode(photo, header, bundle.manifest.preprocessing, exact)
    decoded_s = time.perf_counter()
    inside = network.run(picture[np.newaxis])
    inferred_s = time.perf_counter()
    row = inside.probabilities[0]
    explained = _prediction(row, bundle.labels, wanted.class_index)
    found = drawn = None
    if inside.features is not None and network.weight is not None:
        region = seen_region(header, bundle.manifest.preprocessing)
        found = class_map(inside.features[0], network.weight[explained.index], region)
        drawn = overlay(decode_whole(photo, header, _OVERLAY_PIXELS), found) if wanted.overlay else None
    blocks = zip(network.blocks, inside.gates, strict=True)
    return Explanation(
        predictions=top(row, bundle.labels, wanted.top_k),
        vote=vote(row, bundle.labels) if bundle.has_groups else None,
        decode_ms=(decoded_s - began_s) * 1e3,
        infer_ms=(inferred_s - decoded_s) * 1e3,
        explained=explained,
        map=found,
        excitations=tuple(excitation(block, gates[0], wanted.gates) for block, gates in blocks),
        overlay_png=drawn,
    )


def _prediction(row: Probabilities, labels: Sequence[Label], index: int | None) -> Prediction:
    if index is None:
        return top(row, labels, 1)[0]
    return Prediction(index, labels[index].id, labels[index].name, float(row[index]))
