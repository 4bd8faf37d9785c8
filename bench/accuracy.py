"""`python -m bench.accuracy`: how often a running server's first answer, or one of its five, is a photo's class."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import httpx

from bench import photos
from bench.running import ROOT, ServerFailed, running
from server.comparing.intervals import wilson

USAGE_ERROR = 2

_AT_ONCE = 8
_TIMEOUT_S = 60.0


class MeasurementFailed(Exception):
    """The server did not answer as a measurement needs it; the message says what it did."""


@dataclass(frozen=True)
class MeasuredAccuracy:
    """Of `images` photos whose class the model knows; `skipped` had another and were not sent."""

    model: str
    version: str
    images: int
    skipped: int
    top1: int
    top5: int


def main() -> None:
    """Exit codes: 0 measured, 1 the server failed or refused, 2 usage."""
    options = _parser().parse_args()
    try:
        named = photos.of_known_class(options.photos)
        with _client(options.url) as client:
            print(_report(measure(client, named, options.model)))
    except photos.NoPhotos as error:
        _leave(str(error), USAGE_ERROR)
    except (MeasurementFailed, ServerFailed) as error:
        _leave(str(error), 1)


@contextmanager
def _client(url: str | None) -> Iterator[httpx.Client]:
    """A client of the server at that address, or of one of our own."""
    with ExitStack() as stack:
        url = url or stack.enter_context(running(ROOT / "model_repository")).url
        yield stack.enter_context(httpx.Client(base_url=url, timeout=_TIMEOUT_S))


def measure(client: httpx.Client, named: Sequence[tuple[str, Path]], model: str | None) -> MeasuredAccuracy:
    """Send every photo whose WordNet id is among the model's labels. Without `model`: the only one there is.

    Raises MeasurementFailed for any answer that is not 200, and where no photo is of a class that the model knows.
    """
    model = model or _only_model(client)
    labels = _asked(client, "GET", f"/models/{model}/labels")
    known = {row["id"] for row in labels["labels"]}
    sent = [(wordnet_id, path) for wordnet_id, path in named if wordnet_id in known]
    if not sent:
        raise MeasurementFailed(f"None of the {len(named)} photos is of a class that the model '{model}' knows.")
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        answers = list(threads.map(lambda photo: _ids(client, photo[1], model, labels["version"]), sent))
    pairs = [(wordnet_id, ids) for (wordnet_id, _), ids in zip(sent, answers, strict=True)]
    return MeasuredAccuracy(
        model=model,
        version=labels["version"],
        images=len(sent),
        skipped=len(named) - len(sent),
        top1=sum(wordnet_id == ids[0] for wordnet_id, ids in pairs),
        top5=sum(wordnet_id in ids for wordnet_id, ids in pairs),
    )


def _only_model(client: httpx.Client) -> str:
    names = sorted({row["model"] for row in _asked(client, "GET", "/models")["models"]})
    if len(names) != 1:
        raise MeasurementFailed(f"The server has {len(names)} models: say --model with one of {', '.join(names)}.")
    return str(names[0])


def _ids(client: httpx.Client, photo: Path, model: str, version: str) -> list[str]:
    """The ids of a photo's five best classes, best first."""
    query = {"model": model, "version": version}
    try:
        answer = _asked(client, "POST", "/classify", params=query, content=photo.read_bytes())
    except MeasurementFailed as error:
        raise MeasurementFailed(f"{photo.name}: {error}") from error
    return [best["id"] for best in answer["predictions"]]


def _asked(client: httpx.Client, method: str, path: str, **more: Any) -> Any:
    try:
        answer = client.request(method, path, **more)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise MeasurementFailed(
            f"There is no answer from {client.base_url} ({error}): is a server running there?"
        ) from error
    if answer.status_code != httpx.codes.OK:
        raise MeasurementFailed(f"{method} {path} was answered with {answer.status_code}: {answer.text.strip()[:300]}")
    return answer.json()


def _report(found: MeasuredAccuracy) -> str:
    lines = [f"{found.model}/{found.version}: n={found.images}, skipped as of unknown classes: {found.skipped}"]
    for name, hits in (("top-1", found.top1), ("top-5", found.top5)):
        low, high = wilson(hits, found.images)
        share = hits / found.images
        lines.append(f"{name}  {share:6.1%}  ({hits}/{found.images})  95 % interval {low:.1%} to {high:.1%}")
    return "\n".join(lines)


def _leave(message: str, code: int) -> NoReturn:
    print(f"bench.accuracy: {message}", file=sys.stderr)
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="folder of files named <WordNet id>_…")
    parser.add_argument("--url", help="of a running server; without it one is started on ./model_repository")
    parser.add_argument("--model", help="needed where the server has several")
    return parser


if __name__ == "__main__":
    main()
