"""Table: the medians over rounds, as Markdown."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.wrk import Load

CONNECTIONS = (1, 8, 32)

_TITLES = {"mobilenetv3": "MobileNetV3-Small", "seresnet50": "SE-ResNet-50"}

_Loads = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Turn:
    """What one server showed in one round: a load for each of CONNECTIONS, and its agreement with Sesame."""

    network: str
    server: str
    agreement: float
    loads: tuple[Load, ...]


def markdown(document: Mapping[str, Any]) -> str:
    """Of a document as `--json` writes it: one table for each network, in the order of the turns, and what it was."""
    turns = document["turns"]
    tables = [_table(name, [turn for turn in turns if turn["network"] == name]) for name in _names(turns, "network")]
    others = max(_others(load, document["cores"]) for turn in turns for load in turn["loads"])
    agreement = min(turn["agreement"] for turn in turns)
    rounds = f"{document['rounds']} round{'s' * (document['rounds'] > 1)}"
    tables.append(
        f"`{document['command']}`, {document['made']}, {document['cores']} cores of an {document['cpu']}, medians of "
        f"{rounds}. Each cell: requests/s, p50 / p99 in ms. CPU: the server's time for a request at {CONNECTIONS[-1]} "
        f"connections. Every server named the class that Sesame named, for at least {agreement:.0%} of "
        f"{document['photos']} photos. Other work took at most {others:.0%} of the cores."
    )
    return "\n\n".join(tables)


def _table(network: str, turns: Sequence[Mapping[str, Any]]) -> str:
    heads = [f"{count} connection{'s' * (count > 1)}" for count in CONNECTIONS]
    lines = [f"| {' | '.join([_TITLES[network], *heads, 'CPU ms', 'errors'])} |", "|---" * (len(CONNECTIONS) + 3) + "|"]
    for server in _names(turns, "server"):
        rounds = [turn["loads"] for turn in turns if turn["server"] == server]
        cells = [_cell([loads[at] for loads in rounds]) for at in range(len(CONNECTIONS))]
        cpu_ms = statistics.median(1e3 * loads[-1]["server_cpu_s"] / max(1, loads[-1]["images"]) for loads in rounds)
        errors = sum(load["errors"] for loads in rounds for load in loads)
        lines.append(f"| {' | '.join([server, *cells, f'{cpu_ms:.1f}', str(errors)])} |")
    return "\n".join(lines)


def _cell(loads: _Loads) -> str:
    rate, p50_ms, p99_ms = (
        statistics.median(load[name] for load in loads) for name in ("images_per_s", "p50_ms", "p99_ms")
    )
    return f"{rate:.0f}, {p50_ms:.1f} / {p99_ms:.1f}"


def _others(load: Mapping[str, Any], cores: int) -> float:
    """The share of all cores' time that neither the server nor wrk took."""
    return float(load["others_cpu_s"] / load["seconds"] / cores)


def _names(turns: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    return list(dict.fromkeys(turn[key] for turn in turns))
