"""Curves: the throughput and latency of servers, from one request at a time to as many as fill them."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.curve_plot import Curve, plot_of
from bench.report.medians import by_load, others
from bench.report.plot import Missing, Plot, medians_of

TITLES = {"demo": "demo, 64 pixels", "seresnet50": "SE-ResNet-50, 224 pixels", "mobilenetv3": "MobileNetV3-Small"}
_MOST_OTHERS = 0.1
"""Where other work took more of the cores, a comparison of servers shows the other work."""


def of_load(document: Sequence[Mapping[str, Any]]) -> list[Plot | Missing]:
    """`bench.load`: Sesame over HTTP."""
    found: dict[str, Sequence[Curve]] = {}
    for bundle in document:
        rows = [load for row in bundle["rounds"] for load in row["loads"]]
        found[_title(bundle["bundle"])] = [Curve("Sesame", by_load(rows, "connections"))]
    notes = _notes("python -m bench.load", len(document[0]["rounds"]), document[0]["cores"], "connections")
    return [plot_of("load", "Photos over HTTP", notes, found, "connections")]


def of_triton(document: Mapping[str, Any]) -> list[Plot | Missing]:
    """`bench.triton`: Sesame by both faces, and beside NVIDIA's Triton."""
    notes = _notes("python -m bench.triton", document["rounds"], document["cores"], "requests")
    ways = {(row["input"], row["face"]) for row in document["points"]}
    faces: dict[str, Sequence[Curve]] = {}
    for input in sorted({input for input, _ in ways}):
        rows = [row for row in document["points"] if row["input"] == input]
        faces[f"demo, {_SENT[input]}"] = [
            Curve(f"Sesame, {_FACES[face]}", by_load([row for row in rows if row["face"] == face], "concurrency"))
            for face in _FACES
            if (input, face) in ways
        ]
    beside: dict[str, Sequence[Curve]] = {}
    singles = [row for row in document["side_by_side"] if row["images_a_request"] == 1]
    for network in dict.fromkeys(row["network"] for row in singles):
        here = [row for row in singles if row["network"] == network]
        servers = {(row["server"], row["face"]): None for row in here}
        beside[_title(network)] = [
            Curve(
                f"{server}, {_FACES[face]}",
                by_load([row for row in here if (row["server"], row["face"]) == (server, face)], "concurrency"),
            )
            for server, face in servers
        ]
    return [
        plot_of("faces", "Both faces of the Open Inference Protocol", notes, faces, "requests at once"),
        plot_of("triton", "Beside NVIDIA's Triton, pixels in fp32", notes, beside, "requests at once"),
    ]


def of_peers(document: Mapping[str, Any]) -> list[Plot | Missing]:
    """`bench.peers`: Sesame beside other servers."""
    title = "Beside other servers"
    loads = [load for turn in document["turns"] for load in turn["loads"]]
    share = others(loads, document["cores"])
    if share > _MOST_OTHERS:
        why = f"other work took {share:.0%} of the cores while `bench/results/peers.json` was measured"
        return [Missing(title, f"{why}: `python -m bench.peers` on a quiet machine")]
    found: dict[str, Sequence[Curve]] = {}
    for network in dict.fromkeys(turn["network"] for turn in document["turns"]):
        turns = [turn for turn in document["turns"] if turn["network"] == network]
        found[_title(network)] = [
            Curve(server, [point for point in by_load(_loads(turns, server), "connections") if point.images_per_s])
            for server in dict.fromkeys(turn["server"] for turn in turns)
        ]
    notes = _notes("python -m bench.peers", document["rounds"], document["cores"], "connections")
    return [plot_of("peers", title, notes, found, "connections")]


_SENT = {"image": "JPEG files", "pixels": "pixels"}
_FACES = {"http": "HTTP", "grpc": "gRPC"}


def _loads(turns: Sequence[Mapping[str, Any]], server: str) -> list[Mapping[str, Any]]:
    return [load for turn in turns if turn["server"] == server for load in turn["loads"]]


def _title(network: str) -> str:
    return next((title for name, title in TITLES.items() if network.startswith(name)), network)


def _notes(command: str, rounds: int, cores: int, at_once: str) -> str:
    return (
        f"`{command}`, {medians_of(rounds)}, {cores} cores. Further right is more, further down is faster. The numbers "
        f"at the points are {at_once}; the line is p50, the dashes above it reach p99."
    )
