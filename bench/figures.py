"""Figures: all that one bundle showed in one round, their medians over rounds, and the table of them."""

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.alone import Alone
from bench.inside import STAGES, Inside
from bench.wrk import Load

ONE, MANY = 1, 64
CONNECTIONS = (ONE, 8, MANY)


@dataclass(frozen=True)
class LoadRound:
    """One bundle, one round: `loads` at each of CONNECTIONS, what the server counted `inside` during each, and what its
    parts took alone around them.
    """

    bundle: str
    alone: Alone
    loads: tuple[Load, ...]
    inside: tuple[Inside, ...]

    @property
    def ratio(self) -> float:
        """Of measured images/s at 64 connections to the ceiling."""
        return self.loads[-1].images_per_s / self.alone.ceiling_per_s

    @property
    def overhead_ms(self) -> float:
        """Of the median request at one connection: all that is neither decoding nor the engine on one image."""
        return self.loads[0].p50_ms - (self.alone.decode_s + self.alone.one_s) * 1e3


_LOAD: dict[str, Callable[[Load], float]] = {
    "images/s": lambda load: load.images_per_s,
    "requests/s": lambda load: load.requests_per_s,
    "p50 ms": lambda load: load.p50_ms,
    "p99 ms": lambda load: load.p99_ms,
    "server CPU s": lambda load: load.server_cpu_s,
    "wrk CPU s": lambda load: load.wrk_cpu_s,
    "others CPU s": lambda load: load.others_cpu_s,
}
_ROUND: dict[str, Callable[[LoadRound], float]] = {
    "decode alone ms (median)": lambda row: row.alone.decode_s * 1e3,
    "decode alone ms (mean)": lambda row: row.alone.decode_mean_s * 1e3,
    "engine alone, one image ms": lambda row: row.alone.one_s * 1e3,
    "engine alone, best ms an image": lambda row: row.alone.engine_s * 1e3,
    "best batch": lambda row: row.alone.best_batch,
    "ceiling images/s": lambda row: row.alone.ceiling_per_s,
    f"images/s at {MANY} / ceiling": lambda row: row.ratio,
    f"p50 at {ONE} - decode - engine ms": lambda row: row.overhead_ms,
}


def median_loads(rounds: Sequence[LoadRound]) -> dict[int, dict[str, float]]:
    """For each number of connections, the median over rounds of each figure, by its name in the table."""
    return {
        connections: {name: statistics.median(of(row.loads[at]) for row in rounds) for name, of in _LOAD.items()}
        for at, connections in enumerate(CONNECTIONS)
    }


def median_inside(rounds: Sequence[LoadRound]) -> dict[int, dict[str, dict[str, float]]]:
    """For each number of connections: the median over rounds of `stage_ms`, and the batches by size of all rounds."""
    found: dict[int, dict[str, dict[str, float]]] = {}
    for at, connections in enumerate(CONNECTIONS):
        here = [row.inside[at] for row in rounds]
        stages = [stage for stage in STAGES if all(stage in each.stage_ms for each in here)]
        batches: Counter[str] = Counter()
        for each in here:
            batches.update(each.batches)
        found[connections] = {
            "stage_ms": {stage: statistics.median(each.stage_ms[stage] for each in here) for stage in stages},
            "batches": {size: batches[size] for size in sorted(batches, key=float)},
        }
    return found


def median_parts(rounds: Sequence[LoadRound]) -> dict[str, float]:
    """The median over rounds of each figure that is not of one load point, by its name in the table."""
    return {name: statistics.median(map(of, rounds)) for name, of in _ROUND.items()}


def table(rounds: Sequence[LoadRound]) -> str:
    """The medians over the rounds of one bundle, to be read in a terminal."""
    lines = [f"{rounds[0].bundle}: medians of {len(rounds)} rounds, {rounds[0].alone.cores} cores"]
    lines.append("".join(f"{name:>14}" for name in ("connections", *_LOAD)))
    for connections, row in median_loads(rounds).items():
        lines.append(f"{connections:>14}" + "".join(f"{value:14.2f}" for value in row.values()))
    lines += [f"  {name:<34}{value:10.3f}" for name, value in median_parts(rounds).items()]
    return "\n".join(lines)
