"""`python -m export`: the command line of the export."""

import argparse
import dataclasses
import signal
import sys
from pathlib import Path
from typing import NoReturn

from bundle.errors import BundleError
from export.convert import STEPS, convert
from export.errors import ExportError
from export.progress import Progress
from export.wishes import Wishes
from models.errors import CheckpointError


def main() -> None:
    """Exit codes: 0 done, 1 refused with a sentence on standard error, 130 interrupted."""
    arguments = vars(_parser().parse_args())
    arguments.pop("command")
    path = arguments.pop("checkpoint")
    for number in (signal.SIGTERM, signal.SIGHUP):  # they leave through the same clean-up as Ctrl-C
        signal.signal(number, signal.default_int_handler)
    try:
        folder = convert(path, Wishes(**arguments), Progress(STEPS))
    except (CheckpointError, BundleError, ExportError) as error:
        _leave(f"export: {error}", 1)
    except KeyboardInterrupt:
        _leave("export: interrupted; no bundle was written.", 130)
    print(folder)


def _leave(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)


def _triple(text: str) -> tuple[float, float, float]:
    first, second, third = map(float, text.split(","))
    return first, second, third


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export", description="Turn trained SE networks into bundles.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser(
        "convert",
        help="write a bundle for a checkpoint",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    one.add_argument("checkpoint", type=Path, help="a trained checkpoint (.pth, .pt, .pth.tar)")
    default = {field.name: field.default for field in dataclasses.fields(Wishes)}

    def option(name: str, help: str, **more: object) -> None:
        one.add_argument(f"--{name.replace('_', '-')}", default=default[name], help=help, **more)  # type: ignore[arg-type]

    option("name", "the bundle's name; the architecture's where not given")
    option("bundles", "the folder to write it under", type=Path)
    option("arch", "what the checkpoint must be, e.g. seresnet50")
    option("format", "the format of its tensor names; detected where not given")
    option("weights", "which set to take of a file that holds several, e.g. state_dict")
    option("stem", "the first convolution; a 3x3 does not show its stride", choices=("7x7", "3x3s2", "3x3s1"))
    option("size", "side of the network's input in pixels", type=int)
    option("resize", "bring the shorter side to --resize-to, or squash both sides", choices=("short_side", "squash"))
    option("resize_to", "in pixels, before the centre crop of --size", type=int)
    option("interpolation", "of the resize", choices=("bilinear", "bicubic"))
    option("mean", "R,G,B as the training code states it, e.g. 0.485,0.456,0.406", type=_triple)
    option("std", "R,G,B on the same scale", type=_triple)
    option("labels", "imagenet-1k, or a file with one class per line in output order")
    option("photos", "compare on the photos of this folder instead of generated images", type=Path)
    option("notes", "Markdown for the card: training data, accuracy, licence", type=Path)
    return parser


if __name__ == "__main__":
    main()
