"""Describing: the options of a command with which the user describes a checkpoint."""

import argparse
import dataclasses
from pathlib import Path

from bundle import labelsets
from export.errors import ExportError
from export.options import ConvertOptions
from models import formats, hub


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """The file, or the published weights instead of it."""
    parser.add_argument(
        "checkpoint", type=path, nargs="?", help="a trained checkpoint (.pth, .safetensors, .caffemodel, …)"
    )
    parser.add_argument("--pretrained", metavar="timm:NAME", help="fetch these weights from the hub instead")


def add_reading(parser: argparse.ArgumentParser) -> None:
    """How the file is read, where it does not say so or is wrong."""
    parser.add_argument(
        "--arch", help="the network to expect (seresnet50), or the library that defines it (timm:mobilenetv3_small_100)"
    )
    parser.add_argument(
        "--format",
        help="format of the tensor names (default: detected)",
        choices=[known.name for known in formats.FORMATS],
    )
    parser.add_argument("--weights", help="which weights to take from a file with several sets, e.g. state_dict")
    parser.add_argument(
        "--skip-objects",
        help="leave out objects that are no tensors instead of refusing the file",
        action="store_true",
    )
    parser.add_argument(
        "--variant", help="of the ResNet: where blocks stride and how shortcuts pool", choices=("A", "B", "C", "D")
    )
    parser.add_argument(
        "--stem",
        help="the first convolution; a file does not show the stride of a 3x3",
        choices=("7x7", "3x3s2", "3x3s1", "deep"),
    )
    parser.add_argument(
        "--se-place",
        help="place of the SE block in its residual unit",
        choices=("standard", "pre", "post", "identity"),
    )


def add_preparation(parser: argparse.ArgumentParser) -> None:
    """How a photo becomes the network's input, and the classes of its output."""
    parser.add_argument("--size", help="side of the network's input, in pixels", type=_pixels)
    parser.add_argument(
        "--resize",
        help="resize the shorter side to --resize-to, or squash both sides to it",
        choices=("short_side", "squash"),
    )
    parser.add_argument("--resize-to", help="size before the centre crop, in pixels", type=_pixels)
    parser.add_argument("--interpolation", help="interpolation of the resize", choices=("bilinear", "bicubic"))
    parser.add_argument(
        "--labels", help=f"{', '.join(labelsets.SETS)}, or a file with one class per line, in output order"
    )


def add_normalisation(parser: argparse.ArgumentParser) -> None:
    """The range and the order of the colours that the network was trained on."""
    parser.add_argument("--mean", help="R,G,B as in the training code, e.g. 0.485,0.456,0.406", type=_triple)
    parser.add_argument("--std", help="R,G,B on the same scale", type=_triple)
    parser.add_argument(
        "--scale", help="largest pixel value in training (default: guessed from --mean)", type=int, choices=(1, 255)
    )
    parser.add_argument(
        "--bgr",
        help="the network takes channels in the order blue, green, red",
        action=argparse.BooleanOptionalAction,
    )


def options(arguments: argparse.Namespace) -> ConvertOptions:
    """The options on the command line, with the defaults of the others."""
    names = {field.name for field in dataclasses.fields(ConvertOptions)}
    return ConvertOptions(
        **{name: value for name, value in vars(arguments).items() if name in names and value is not None}
    )


def checkpoint(arguments: argparse.Namespace) -> tuple[Path, str | None, ConvertOptions]:
    """The file, the address that it was fetched from, and the options.

    Raises ExportError where neither a file nor published weights are named, or both; CheckpointError where these cannot
    be fetched.
    """
    file: Path | None = arguments.checkpoint
    given = options(arguments)
    if (file is None) == (arguments.pretrained is None):
        raise ExportError("Give either a checkpoint or --pretrained, e.g. --pretrained timm:seresnet50.ra2_in1k.")
    if file is not None:
        return file, None, given
    fetched, url = hub.fetch(arguments.pretrained)
    return fetched, url, dataclasses.replace(given, arch=arguments.pretrained)


def path(text: str) -> Path:
    """The type of an option that names a file or a folder."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty: give a path")
    return Path(text)


def _pixels(text: str) -> int:
    if not text.isdecimal() or not 8 <= int(text) <= 4096:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels from 8 to 4096")
    return int(text)


def _triple(text: str) -> tuple[float, float, float]:
    try:
        first, second, third = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers, e.g. 0.485,0.456,0.406") from None
    return first, second, third
