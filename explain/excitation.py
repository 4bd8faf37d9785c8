"""Excitations: the gates of one SE block for one photo, in a few numbers."""

import numpy as np

from bundle.manifest import SEBlockRow
from explain.explanation import Excitation, Strong
from explain.network import Gates

_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
_STRONGEST = 5


def excitation(block: SEBlockRow, gates: Gates, full: bool) -> Excitation:
    """`gates` (channels)."""
    strongest = np.argsort(-gates, kind="stable")[:_STRONGEST]
    return Excitation(
        block=block.name,
        channels=block.channels,
        mean=float(gates.mean()),
        deviation=float(gates.std()),
        quantiles=tuple(np.quantile(gates, _QUANTILES).tolist()),
        strongest=tuple(Strong(int(channel), float(gates[channel])) for channel in strongest),
        gates=tuple(gates.tolist()) if full else None,
    )
