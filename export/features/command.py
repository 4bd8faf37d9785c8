"""`python -m export features`: writes the backbone of a checkpoint as ONNX, with the maps that detectors read."""

import argparse
import sys

from export import describing
from export.features import features, map_parity
from export.progress import Progress

NAME = "features"
HELP = "write a network without its head as ONNX, with the maps C2 to C5 that detectors read"


def add_options(parser: argparse.ArgumentParser) -> None:
    describing.add_checkpoint(parser)
    parser.add_argument(
        "--stages",
        type=_stages,
        metavar="LIST",
        help="which maps: 2,3,4,5 are C2 to C5, with strides of 4 to 32 pixels (default: all that the network has)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=describing.path,
        metavar="FILE",
        help="the file to write or to replace (default: NETWORK.features.onnx in this folder)",
    )
    describing.add_reading(parser)
    describing.add_normalisation(parser)


def write_features(arguments: argparse.Namespace) -> int:
    """Run the command and return the exit code 0. Raises CheckpointError or ExportError; nothing is written then."""
    path, _, options = describing.checkpoint(arguments)
    done = features.write_features(path, options, arguments.stages, arguments.output, Progress(features.STEPS))
    sizes = ", ".join(f"{height}x{width}" for _, height, width in map_parity.SIZES)
    if warning := done.sheet.warning():
        print(warning, file=sys.stderr)
    print(f"{done.path}\n{done.sheet.table()}")
    print(f"  compared at {sizes}: errors up to {done.max_error:.1e} of a map's root mean square")
    return 0


def _stages(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdecimal() and 2 <= int(part) <= 9 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of stages from 2 on, e.g. 2,3,4,5")
    return tuple(map(int, parts))
