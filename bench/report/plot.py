"""Plot: one picture of the report, with all that the page says of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Plot:
    """`name`: of its file, without `.svg`. `alt`: what it shows, for those who do not see it. `table`: the plotted
    figures, rows under a row of titles. `notes`: how they were measured.
    """

    name: str
    title: str
    alt: str
    notes: str
    table: Sequence[Sequence[str]]
    draw: Callable[[], Figure]


@dataclass(frozen=True)
class Missing:
    """A plot for which the results hold no figures that can be used, and why."""

    title: str
    why: str


def connections(number: str) -> str:
    """How a load is called."""
    return f"{number} connection{'s' * (number != '1')}"


def medians_of(rounds: int) -> str:
    """Over how many rounds the figures are medians."""
    return f"medians of {rounds} rounds" if rounds > 1 else "one round"
