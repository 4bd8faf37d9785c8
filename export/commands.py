"""Commands: what `python -m export` understands, and what it does then."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bundle import labelsets
from export import inspection, precisions, verify
from export.convert import STEPS, convert
from export.errors import ExportError
from export.probe import MOST, probe
from export.progress import Progress
from export.tensorrt import command as build_engine
from export.wishes import Wishes
from models import formats, hub

Command = Callable[[argparse.Namespace], int]


def run(arguments: Sequence[str]) -> int:
    """The exit code: 0 done, 1 done and something found wanting. Raises CheckpointError, BundleError or ExportError."""
    told = _parser().parse_args(arguments)
    command: Command = told.command
    return command(told)


def _convert(told: argparse.Namespace) -> int:
    wishes, path, url = _wishes(told), told.checkpoint, None
    if (path is None) == (told.pretrained is None):
        raise ExportError("Give either a checkpoint or --pretrained, e.g. --pretrained timm:seresnet50.ra2_in1k.")
    if told.pretrained is not None:
        path, url = hub.fetch(told.pretrained)
        wishes = dataclasses.replace(wishes, arch=told.pretrained)
    steps = STEPS if wishes.precisions == ("fp32",) else None
    done = convert(path, wishes, Progress(steps), url)
    for refused in done.refused:
        print(f"{refused.precision} was not written. {refused.report}", file=sys.stderr)
    print(done.path)
    return 1 if done.refused else 0


def _probe(told: argparse.Namespace) -> int:
    report = probe(told.checkpoint, told.photos, _wishes(told), told.most, Progress())
    print(report.to_json() if told.json else f"{report.table()}\n\n{report.verdict()}")
    return 0 if report.best is report.given else 1


def _inspect(told: argparse.Namespace) -> int:
    facts = inspection.inspect(told.path, _wishes(told))
    print(inspection.to_json(facts) if told.json else inspection.table(facts))
    return 0


def _verify(told: argparse.Namespace) -> int:
    report = verify.verify(told.bundle, Progress())
    print(report.to_json() if told.json else report.table())
    return 0 if report.passed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export", description="Turn trained SE networks into bundles.")
    commands = parser.add_subparsers(required=True)

    def command(name: str, does: Command, help: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=help, description=help)
        one.set_defaults(command=does)
        return one

    one = command("convert", _convert, "write a bundle for a checkpoint")
    one.add_argument(
        "checkpoint", type=_path, nargs="?", help="a trained checkpoint (.pth, .safetensors, .caffemodel, …)"
    )
    one.add_argument("--pretrained", metavar="timm:NAME", help="fetch these weights from the hub instead")
    _describe(one)
    _bundle(one)
    one = command("probe", _probe, "score a checkpoint on labelled photos, and name what is wrong with its reading")
    one.add_argument("checkpoint", type=_path)
    one.add_argument("--photos", type=_path, required=True, help="a folder; folders or names in it tell the classes")
    one.add_argument("--most", type=_positive, default=MOST, help="photos to score on at most (default: %(default)s)")
    _describe(one)
    _json(one)
    one = command("inspect", _inspect, "tell what a checkpoint, an ONNX file or a bundle is")
    one.add_argument("path", type=_path)
    _describe(one)
    _json(one)
    one = command("verify", _verify, "check a bundle: hashes, graph, labels, and its answers to its own probe")
    one.add_argument("bundle", type=_path, help="its folder, or that of all its versions for the highest")
    _json(one)
    build_engine.add_options(command(build_engine.NAME, build_engine.build_engine, build_engine.HELP))
    return parser


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def _bundle(parser: argparse.ArgumentParser) -> None:
    """What concerns the bundle alone."""
    parser.add_argument("--name", help="the bundle's name (default: the architecture's)")
    parser.add_argument("--bundles", type=_path, help="the folder to write it under (default: bundles)")
    parser.add_argument("--photos", type=_path, help="compare on the photos of this folder, not on generated images")
    parser.add_argument(
        "--precision",
        dest="precisions",
        type=_precisions,
        metavar="LIST",
        help=f"of {', '.join(precisions.KNOWN)}, e.g. fp32,int8; each is judged on photos (default: fp32)",
    )
    parser.add_argument("--calibrate", type=_path, help="a folder of photos like those that will come, for int8")
    parser.add_argument("--judge", type=_path, help="other photos to judge on; every second of --calibrate otherwise")
    parser.add_argument("--notes", type=_path, help="Markdown for the card: training data, accuracy, licence")


def _describe(parser: argparse.ArgumentParser) -> None:
    """What the user may say of a checkpoint where its file does not tell, or tells it wrong."""

    def option(name: str, help: str, **more: object) -> None:
        parser.add_argument(name, help=help, **more)  # type: ignore[arg-type]

    option("--arch", "what the network must be (seresnet50), or who defines it (timm:mobilenetv3_small_100)")
    option("--format", "of its tensor names; detected otherwise", choices=[known.name for known in formats.FORMATS])
    option("--weights", "which set to take of a file that holds several, e.g. state_dict")
    option("--skip-objects", "leave out what is no tensor instead of refusing the file", action="store_true")
    option("--variant", "where it strides and how it pools: see the README", choices=("A", "B", "C", "D"))
    option("--stem", "the first convolution; a 3x3 does not show its stride", choices=("7x7", "3x3s2", "3x3s1", "deep"))
    option("--se-place", "of the SE block in its unit", choices=("standard", "pre", "post", "identity"))
    option("--size", "side of the network's input in pixels", type=_pixels)
    option("--resize", "bring the shorter side to --resize-to, or squash both sides", choices=("short_side", "squash"))
    option("--resize-to", "in pixels, before the centre crop of --size", type=_pixels)
    option("--interpolation", "of the resize", choices=("bilinear", "bicubic"))
    option("--mean", "R,G,B as the training code states it, e.g. 0.485,0.456,0.406", type=_triple)
    option("--std", "R,G,B on the same scale", type=_triple)
    option("--scale", "how far pixels ran in training; told by --mean otherwise", type=int, choices=(1, 255))
    option("--bgr", "the network takes blue, green, red", action=argparse.BooleanOptionalAction)
    option("--labels", f"{', '.join(labelsets.SETS)}, or a file with one class per line in output order")


def _wishes(told: argparse.Namespace) -> Wishes:
    """What was said, and the defaults of what was not."""
    names = {field.name for field in dataclasses.fields(Wishes)}
    return Wishes(**{name: value for name, value in vars(told).items() if name in names and value is not None})


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("it is empty: give a path")
    return Path(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _precisions(text: str) -> tuple[str, ...]:
    wished = tuple(dict.fromkeys(["fp32", *text.split(",")]))
    if unknown := set(wished) - set(precisions.KNOWN):
        raise argparse.ArgumentTypeError(f"{min(unknown)!r} is none of {', '.join(precisions.KNOWN)}")
    return wished


def _pixels(text: str) -> int:
    if not text.isdecimal() or not 8 <= int(text) <= 4096:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of pixels from 8 to 4096")
    return int(text)


def _triple(text: str) -> tuple[float, float, float]:
    try:
        first, second, third = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers as 0.485,0.456,0.406") from None
    return first, second, third
