"""Forecast: when the photos of a request will be decoded."""

from typing import NamedTuple


class Forecast(NamedTuple):
    """Seconds from now until the first photo is decoded, and until all are."""

    first_s: float = 0.0
    all_s: float = 0.0


NOW = Forecast()
"""They are decoded already."""
