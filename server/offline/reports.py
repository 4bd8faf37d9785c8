"""Reports: how the outcomes of photos are written: as a table, as JSON lines, or as a CSV file."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

from bundle.atomic import write_atomically
from bundle.labels import Label
from server.answers import Answer
from server.offline.classification import Failure, Outcome
from server.offline.photo_files import PhotoFile

_WIDEST = 48  # columns for a photo's name; a longer one moves its own line only


class Report(Protocol):
    """Takes the outcomes in the order of the files."""

    def prints(self, outcome: Outcome) -> bool:
        """Whether a line is printed for it."""
        ...

    def add(self, outcome: Outcome) -> None: ...

    def end(self) -> None:
        """All outcomes were added."""
        ...


class Table:
    """One line for each prediction, or for the error of a photo."""

    def __init__(self, stream: TextIO, files: Sequence[PhotoFile], labels: Sequence[Label]) -> None:
        self._stream = stream
        self._name = min(_WIDEST, max([len("photo"), *(len(_printable(file.path)) for file in files)]))
        self._id = max([len("id"), *(len(label.id) for label in labels)])
        self._line("photo", "probability", "id", "label")

    def prints(self, outcome: Outcome) -> bool:
        return True

    def add(self, outcome: Outcome) -> None:
        name, result = _printable(outcome.path), outcome.result
        if isinstance(result, Failure):
            print(f"{name:<{self._name}}  error: {result.detail}", file=self._stream, flush=True)
            return
        for prediction in result.predictions:
            self._line(name, f"{prediction.probability:.4f}", prediction.id, prediction.label)
            name = ""
        if vote := result.vote:
            self._line("", f"{vote.votes} of {vote.voters}", "", vote.group)
        self._stream.flush()

    def end(self) -> None:
        """Every line is written already."""

    def _line(self, name: str, probability: str, id: str, label: str) -> None:
        line = f"{name:<{self._name}}  {probability:>11}  {id:<{self._id}}  {label}"
        print(line.rstrip(), file=self._stream)


class JsonLines:
    """One object a line for each photo, with the names of the fields of `/classify`."""

    def __init__(self, stream: TextIO, model: str, version: str) -> None:
        self._stream = stream
        self._model = {"model": model, "version": version}

    def prints(self, outcome: Outcome) -> bool:
        return True

    def add(self, outcome: Outcome) -> None:
        line = {"photo": str(outcome.path), **self._fields(outcome.result)}
        print(json.dumps(line, ensure_ascii=False), file=self._stream, flush=True)

    def end(self) -> None:
        """Every line is written already."""

    def _fields(self, result: Answer | Failure) -> dict[str, Any]:
        if isinstance(result, Failure):
            return {"error": {"code": result.code, "detail": result.detail}}
        predictions = [
            {"index": best.index, "id": best.id, "label": best.label, "probability": best.probability}
            for best in result.predictions
        ]
        vote = result.vote
        group = {"group": {"name": vote.group, "votes": vote.votes, "of": vote.voters}} if vote else {}
        return {**self._model, "predictions": predictions, **group}


class CsvFile:
    """One row for each prediction. The file appears whole at the end, or not at all: until then the rows, some 400
    bytes a photo, are in memory. Errors of photos go to a stream instead.
    """

    def __init__(self, path: Path, errors: TextIO) -> None:
        self._path = path
        self._errors = errors
        self._text = io.StringIO(newline="")
        self._rows = csv.writer(self._text, lineterminator="\n")
        self._rows.writerow(("photo", "rank", "index", "id", "label", "probability"))

    def prints(self, outcome: Outcome) -> bool:
        return isinstance(outcome.result, Failure)

    def add(self, outcome: Outcome) -> None:
        if isinstance(outcome.result, Failure):
            print(f"{_printable(outcome.path)}: error: {outcome.result.detail}", file=self._errors, flush=True)
            return
        for rank, best in enumerate(outcome.result.predictions, 1):
            self._rows.writerow((outcome.path, rank, best.index, best.id, best.label, best.probability))

    def end(self) -> None:
        """Raises OSError, and then leaves what was there before."""
        write_atomically(self._path, self._text.getvalue().encode("utf-8", "surrogateescape"))


def _printable(path: Path) -> str:
    """The name of a file on one line: what would move the cursor of a terminal is shown by its code."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(path))
