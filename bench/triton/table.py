"""Table: the medians over rounds of a document as `--json` writes it, as Markdown."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

_TITLES = {"demo": "Demo, SE-ResNet-18 of 64 pixels", "seresnet50": "SE-ResNet-50 of 224 pixels"}
_SESAME, _TRITON = "Sesame", "Triton"
_SENT = ("face", "concurrency", "images_a_request")

_Points = Sequence[Mapping[str, Any]]


def markdown(document: Mapping[str, Any]) -> str:
    """A table of the two side by side for each network, one of Sesame alone, and what they are of."""
    points = document["points"]
    tables = [_side_by_side(name, document["side_by_side"]) for name in _names(document["side_by_side"], "network")]
    if points:
        tables.append(_alone(points))
    every = [*points, *document["side_by_side"]]
    others = max(each["others_cpu_s"] / _busy_s(each, document["cores"]) for each in every)
    rounds = f"{document['rounds']} round{'s' * (document['rounds'] > 1)}"
    tables.append(
        f"`{document['command']}`, {document['made']}, {document['cores']} cores of an {document['cpu']}, medians of "
        f"{rounds}. {document['versions']}. Each cell: images/s, p50 / p99 of a request in ms. Client and server share "
        f"the cores. Of all CPU time, other work took at most {others:.0%}."
    )
    return "\n\n".join(tables)


def _side_by_side(network: str, points: _Points) -> str:
    """Rows: what is sent. Ratio: Sesame's images/s to Triton's, of the same round."""
    mine = [each for each in points if each["network"] == network]
    lines = [f"| {_TITLES.get(network, network)} | Sesame | Triton | ratio | CPU ms an image |", "|---" * 5 + "|"]
    for key in _keys(mine, *_SENT):
        at = [each for each in mine if _key(each, *_SENT) == key]
        sesame, triton = ([each for each in at if each["server"] == name] for name in (_SESAME, _TRITON))
        ratios = [ours["images_per_s"] / theirs["images_per_s"] for ours, theirs in zip(sesame, triton, strict=False)]
        ratio = f"{statistics.median(ratios):.2f}" if ratios else "–"
        cpu = " / ".join(f"{_cpu_ms(each):.2f}" for each in (sesame, triton) if each)
        lines.append(f"| {_sent(*key)} | {_cell(sesame)} | {_cell(triton)} | {ratio} | {cpu} |")
    return "\n".join(lines)


def _alone(points: _Points) -> str:
    """Sesame alone: rows are requests at once, columns the faces and what they carry."""
    columns = _keys(points, "face", "input")
    lines = [f"| Demo | {' | '.join(f'{face}, {name}' for face, name in columns)} |", "|---" * (len(columns) + 1) + "|"]
    for (concurrency,) in _keys(points, "concurrency"):
        row = [each for each in points if each["concurrency"] == concurrency]
        cells = [_cell([each for each in row if _key(each, "face", "input") == column]) for column in columns]
        lines.append(f"| {concurrency} at once | {' | '.join(cells)} |")
    return "\n".join(lines)


def _sent(face: str, concurrency: int, images: int) -> str:
    return f"{face}, {concurrency} at once" + f", {images} images each" * (images > 1)


def _cell(points: _Points) -> str:
    if not points:
        return "–"
    rate, p50_ms, p99_ms = (
        statistics.median(each[name] for each in points) for name in ("images_per_s", "p50_ms", "p99_ms")
    )
    return f"{rate:.0f}, {p50_ms:.1f} / {p99_ms:.1f}"


def _cpu_ms(points: _Points) -> float:
    """The server's CPU time, over all of the point, by the images that it answered in that time."""
    return float(statistics.median(1e3 * each["server_cpu_s"] / max(1, each["images"]) for each in points))


def _busy_s(point: Mapping[str, Any], cores: int) -> float:
    """CPU seconds that there were."""
    return float(point["seconds"] * cores)


def _key(point: Mapping[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(point[name] for name in names)


def _keys(points: _Points, *names: str) -> list[tuple[Any, ...]]:
    return list(dict.fromkeys(_key(each, *names) for each in points))


def _names(points: _Points, name: str) -> list[str]:
    return [each for (each,) in _keys(points, name)]
