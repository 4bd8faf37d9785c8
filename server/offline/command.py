"""Command: `python -m server classify`: its arguments, what it prints, and its exit codes."""

import argparse
import asyncio
import io
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from bundle.errors import BundleError
from server import options
from server.host import process
from server.host.exit_codes import HUNG, LOAD_FAILED, USAGE_ERROR
from server.host.logs import Logs
from server.offline import photo_files
from server.offline.classification import Classification, Failure, Hung
from server.offline.local_model import LocalModel, UnknownModel
from server.offline.photo_files import PhotoFile
from server.offline.progress_bar import ProgressBar
from server.offline.reports import CsvFile, JsonLines, Report, Table
from server.settings import Settings, SettingsError

SOME_FAILED, INTERRUPTED, NOBODY_READS = 1, 130, 141  # the last two as a shell shows SIGINT and SIGPIPE

_OWN = ("photos", "model", "version", "top_k", "json", "csv")
"""What is no setting of the server."""

_SETTINGS = (
    "model_repository",
    "default_model",
    "engine",
    "precision",
    "cache_dir",
    "max_batch",
    "decode_threads",
    "engine_threads",
    "engine_limit_s",
    "exact_pixels",
    "max_image_bytes",
    "max_pixels",
    "decode_limit_s",
    "log_level",
)
"""The settings of the server that have an effect here."""


class UnusableArguments(Exception):
    """There is nothing to do as the arguments are. The message says why, and the cure."""


@dataclass
class _Count:
    """How far the photos are."""

    total: int = 0
    done: int = 0
    failed: int = 0

    def line(self, model: LocalModel, seconds: float) -> str:
        engine = model.loaded.engine
        by = f"{model.entry.name}/{model.entry.version} ({engine.name} {engine.precision})"
        photos = f"{self.total} photo{'s' * (self.total != 1)}"
        return f"Classified {self.done - self.failed} of {photos} by {by} in {seconds:.1f} s."


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Classify, print, and end the process. Exit codes: 0 all photos were classified, 1 some could not be, 2 the
    arguments cannot be used, 3 the model cannot be loaded, 70 an engine hangs, 130 interrupted, 141 nobody reads.
    """
    parser = _parser()
    given = vars(parser.parse_intermixed_args(arguments))
    own = argparse.Namespace(**{name: given.pop(name) for name in _OWN})
    try:
        settings = options.read(given, {"SESAME_LOG_LEVEL": "warning", **environment})
    except SettingsError as error:
        parser.exit(USAGE_ERROR, f"server: {error}\n")
    Logs(settings.log_level).end_process(_ended(own, settings))


def _ended(own: argparse.Namespace, settings: Settings) -> int:
    count = _Count()
    try:
        return _classify(own, settings, count)
    except (UnusableArguments, UnknownModel) as error:
        message, code = str(error), USAGE_ERROR
    except BundleError as error:
        message, code = str(error), LOAD_FAILED
    except Hung as error:
        message, code = f"{error}: start it again.", HUNG
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in its buffer goes nowhere
        return NOBODY_READS
    except KeyboardInterrupt:
        unwritten = f" {own.csv} was not written." if own.csv else ""
        message, code = f"Interrupted: {count.done} of {count.total} photos were done.{unwritten}", INTERRUPTED
    print(f"server: {message}", file=sys.stderr, flush=True)
    return code


def _classify(own: argparse.Namespace, settings: Settings, count: _Count) -> int:
    files = _files(own.photos)
    count.total = len(files)
    if own.csv:
        _check_writable(own.csv)
    process.give_memory_back()
    model = LocalModel(settings, own.model, own.version)
    classes = len(model.loaded.bundle.labels)
    if own.top_k is not None and not 1 <= own.top_k <= classes:
        raise UnusableArguments(f"--top-k must be from 1 to {classes}, the number of classes of {model.entry.name}.")
    report = _report(own, files, model)
    began_at_s = time.monotonic()
    runner = asyncio.Runner()  # never closed: that would wait for threads that Ctrl-C shall not wait for
    runner.run(_report_all(model, own.top_k, files, report, count))
    try:
        report.end()
    except OSError as error:
        raise UnusableArguments(f"{own.csv} cannot be written ({error.strerror}): choose another file.") from error
    if own.csv or len(files) > 1:
        print(count.line(model, time.monotonic() - began_at_s), file=sys.stderr, flush=True)
    return SOME_FAILED if count.failed else 0


async def _report_all(
    model: LocalModel, top_k: int | None, files: Sequence[PhotoFile], report: Report, count: _Count
) -> None:
    classification, bar = Classification(model, top_k), ProgressBar(len(files), sys.stderr)
    try:
        bar.show(0)
        async with aclosing(classification.outcomes(files)) as outcomes:
            async for outcome in outcomes:
                if report.prints(outcome):
                    bar.clear()
                report.add(outcome)
                count.done += 1
                count.failed += isinstance(outcome.result, Failure)
                bar.show(count.done)
    finally:
        bar.clear()


def _files(arguments: Sequence[Path]) -> list[PhotoFile]:
    if not arguments:
        raise UnusableArguments("Which photos? Give files or folders: python -m server classify photo.jpg photos/")
    files = photo_files.find(arguments)
    if not files:
        folders = ", ".join(f"'{folder}'" for folder in arguments)
        raise UnusableArguments(f"There is no photo in {folders}: give a folder with JPEG, PNG or WebP files.")
    return files


def _check_writable(path: Path) -> None:
    """Before an hour of work, not after it."""
    if path.is_dir():
        raise UnusableArguments(f"--csv {path} is a folder: give a file.")
    if not path.parent.is_dir():
        raise UnusableArguments(f"--csv {path}: there is no folder '{path.parent}': make it, or give another file.")
    if not os.access(path.parent, os.W_OK):
        raise UnusableArguments(f"--csv {path}: '{path.parent}' cannot be written: give a file elsewhere.")


def _report(own: argparse.Namespace, files: Sequence[PhotoFile], model: LocalModel) -> Report:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be no text
    if own.csv:
        return CsvFile(own.csv, sys.stderr)
    if own.json:
        return JsonLines(sys.stdout, model.entry.name, model.entry.version)
    return Table(sys.stdout, files, model.loaded.bundle.labels)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m server classify",
        description="Classify photos without a running server, as POST /classify would.",
    )
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO", help="a photo, or a folder of photos")
    parser.add_argument("--model", default="", metavar="NAME", help="model or alias; needed where there are several")
    parser.add_argument("--version", default="", metavar="V", help="version of the model (default: the highest)")
    parser.add_argument("--top-k", type=int, metavar="K", help="classes of each photo (default: 5)")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print a JSON object a line")
    output.add_argument(
        "--csv", type=Path, metavar="FILE", help="write the predictions to this file, when all are done"
    )
    options.add_options(parser, _SETTINGS)
    return parser
