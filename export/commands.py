"""Commands: the command line of `python -m export`."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from export import describing, inspection, precisions, transfers, verify
from export.convert import STEPS, convert
from export.describing import options as _options
from export.describing import path as _path
from export.diagnose import MOST_PHOTOS, diagnose
from export.excitation import command as excitation
from export.features import command as features
from export.progress import Progress
from export.tensorrt import command as build_engine

log = logging.getLogger(__name__)

Command = Callable[[argparse.Namespace], int]


def run(arguments: Sequence[str]) -> int:
    """Run a command and return the exit code: 0 done, 1 done with a failed check or a precision left out.

    Raises CheckpointError, BundleError or ExportError.
    """
    parsed = _parser().parse_args(arguments)
    command: Command = parsed.command
    return command(parsed)


def _convert(arguments: argparse.Namespace) -> int:
    path, url, options = describing.checkpoint(arguments)
    steps = STEPS if options.precisions == ("fp32",) else None
    done = convert(path, options, Progress(steps), url)
    for refused in done.refused:
        print(f"{refused.precision} was not written. {refused.report}", file=sys.stderr)
    for warning in done.warnings:
        print(warning, file=sys.stderr)
    print(done.path)
    return 1 if done.refused else 0


def _diagnose(arguments: argparse.Namespace) -> int:
    report = diagnose(arguments.checkpoint, arguments.photos, _options(arguments), arguments.most, Progress())
    print(report.to_json() if arguments.json else f"{report.table()}\n\n{report.verdict()}")
    return 0 if report.best is report.given else 1


def _inspect(arguments: argparse.Namespace) -> int:
    facts = inspection.inspect(arguments.path, _options(arguments))
    print(inspection.to_json(facts) if arguments.json else inspection.table(facts))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    report = verify.verify(arguments.bundle, Progress())
    print(report.to_json() if arguments.json else report.table())
    return 0 if report.passed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export", description="Turn trained SE networks into bundles.")
    commands = parser.add_subparsers(required=True)

    def command(name: str, does: Command, help: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=help, description=help)
        one.set_defaults(command=does)
        return one

    one = command("convert", _convert, "write a bundle for a checkpoint")
    describing.add_checkpoint(one)
    _describe(one)
    _bundle(one)
    one = command("diagnose", _diagnose, "score a checkpoint on labelled photos, and name the fault in how it is read")
    one.add_argument("checkpoint", type=_path)
    one.add_argument("--photos", type=_path, required=True, help="a folder; its folders or files are named by class")
    one.add_argument(
        "--most", type=_positive, default=MOST_PHOTOS, help="score on at most so many photos (default: %(default)s)"
    )
    _describe(one)
    _json(one)
    one = command("inspect", _inspect, "list the facts of a checkpoint, an ONNX file or a bundle")
    one.add_argument("path", type=_path)
    _describe(one)
    _json(one)
    one = command("verify", _verify, "check a bundle: hashes, labels, graphs, and their answers to the probe")
    one.add_argument("bundle", type=_path, help="the folder of a version, or of all versions for the highest")
    _json(one)
    excitation.add_options(command(excitation.NAME, excitation.excitations, excitation.HELP))
    features.add_options(command(features.NAME, features.write_features, features.HELP))
    build_engine.add_options(command(build_engine.NAME, build_engine.build_engine, build_engine.HELP))
    for name in transfers.NAMES:
        transfers.add_options(name, command(name, transfers.transfer, transfers.HELP[name]))
    return parser


def _describe(parser: argparse.ArgumentParser) -> None:
    """Options that describe the checkpoint, where its file does not or is wrong."""
    describing.add_reading(parser)
    describing.add_preparation(parser)
    describing.add_normalisation(parser)


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def _bundle(parser: argparse.ArgumentParser) -> None:
    """Options of the bundle."""
    parser.add_argument("--name", help="the bundle's name (default: the architecture's)")
    folder = parser.add_mutually_exclusive_group()
    folder.add_argument(
        "--model-repository", type=_path, help="the folder to write it under (default: model_repository)"
    )
    folder.add_argument(
        "--bundles", dest="model_repository", type=_path, action=_Renamed, help="old name of --model-repository"
    )
    parser.add_argument("--photos", type=_path, help="compare on the photos of this folder instead of generated images")
    parser.add_argument(
        "--precision",
        dest="precisions",
        type=_precisions,
        metavar="LIST",
        help=f"any of {', '.join(precisions.KNOWN)}, e.g. fp32,int8; each is evaluated on photos (default: fp32)",
    )
    parser.add_argument("--calibrate", type=_path, help="a folder of typical photos, to calibrate 8-bit graphs")
    parser.add_argument(
        "--judge", type=_path, help="a folder of photos to evaluate on (default: every second of --calibrate)"
    )
    parser.add_argument("--notes", type=_path, help="a Markdown file for the card: training data, accuracy, licence")


class _Renamed(argparse.Action):
    """An option's old name. It still works in this release, with a warning."""

    def __call__(
        self, parser: argparse.ArgumentParser, told: argparse.Namespace, value: object, option: str | None = None
    ) -> None:
        new = f"--{self.dest.replace('_', '-')}"
        log.warning("%s is now named %s: the old name stops working in the next release", option, new)
        setattr(told, self.dest, value)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _precisions(text: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(["fp32", *text.split(",")]))
    if unknown := set(chosen) - set(precisions.KNOWN):
        raise argparse.ArgumentTypeError(f"{min(unknown)!r} is none of {', '.join(precisions.KNOWN)}")
    return chosen
