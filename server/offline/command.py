"""Command: `python -m server classify`: what it prints, and its exit codes."""

import asyncio
import io
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import NoReturn

from bundle.errors import BundleError
from server.host import process
from server.host.exit_codes import HUNG, LOAD_FAILED, USAGE_ERROR
from server.host.logs import Logs
from server.offline.arguments import Arguments, UnusableArguments, parse
from server.offline.classification import Classification, Failure, Hung
from server.offline.local_model import LocalModel, UnknownModel
from server.offline.photo_files import PhotoFile
from server.offline.progress_bar import ProgressBar
from server.offline.reports import CsvFile, JsonLines, Report, Table
from server.settings import Settings

SOME_FAILED, INTERRUPTED, NOBODY_READS = 1, 130, 141  # the last two as a shell shows SIGINT and SIGPIPE


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
    told, settings = parse(arguments, environment)
    Logs(settings.log_level).end_process(_ended(told, settings))


def _ended(told: Arguments, settings: Settings) -> int:
    count = _Count()
    try:
        return _classify(told, settings, count)
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
        unwritten = f" {told.csv} was not written." if told.csv else ""
        message, code = f"Interrupted: {count.done} of {count.total} photos were done.{unwritten}", INTERRUPTED
    print(f"server: {message}", file=sys.stderr, flush=True)
    return code


def _classify(told: Arguments, settings: Settings, count: _Count) -> int:
    files = told.files()
    count.total = len(files)
    told.check_writable()
    process.give_memory_back()
    model = LocalModel(settings, told.model, told.version)
    classes = len(model.loaded.bundle.labels)
    if told.top_k is not None and not 1 <= told.top_k <= classes:
        raise UnusableArguments(f"--top-k must be from 1 to {classes}, the number of classes of {model.entry.name}.")
    report = _report(told, files, model)
    began_at_s = time.monotonic()
    runner = asyncio.Runner()  # never closed: that would wait for threads that Ctrl-C shall not wait for
    runner.run(_report_all(model, told.top_k, files, report, count))
    try:
        report.end()
    except OSError as error:
        raise UnusableArguments(f"{told.csv} cannot be written ({error.strerror}): choose another file.") from error
    if told.csv or len(files) > 1:
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


def _report(told: Arguments, files: Sequence[PhotoFile], model: LocalModel) -> Report:
    if isinstance(sys.stdout, io.TextIOWrapper):
        encoding = "utf-8" if told.json else None  # JSON is UTF-8 wherever it is printed
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")  # names of files may be no text
    if told.csv:
        return CsvFile(told.csv, sys.stderr)
    if told.json:
        return JsonLines(sys.stdout, model.entry.name, model.entry.version)
    return Table(sys.stdout, files, model.loaded.bundle.labels)
