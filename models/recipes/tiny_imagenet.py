"""`python -m models.recipes.tiny_imagenet`: trains the demo network, an SE-ResNet-18 for photos of 64x64 pixels."""

import argparse
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import torch

from models.errors import CheckpointError
from models.recipes import dataset
from models.recipes.dataset import RecipeError
from models.recipes.epochs import TrainingOptions, save, train


def main(arguments: list[str] | None = None) -> None:
    """Exit codes: 0 done, 1 failed with a sentence on standard error, 2 wrong usage, 130 interrupted."""
    chosen = vars(_parser().parse_args(arguments))
    data, out, threads = (chosen.pop(name) for name in ("data", "out", "threads"))
    saved = 0
    try:
        for number in _train_and_save(data, out, threads, TrainingOptions(**chosen)):
            saved = number
    except (RecipeError, CheckpointError) as error:
        _exit(f"training: {error}", 1)
    except KeyboardInterrupt:
        left = f"'{out}' holds epoch {saved}" if saved else "no epoch had ended, so no file was written"
        _exit(f"training: interrupted; {left}.", 130)
    print(out)


def _train_and_save(folder: Path, out: Path, threads: int | None, options: TrainingOptions) -> Iterator[int]:
    """The number of each epoch, as soon as its checkpoint is written."""
    if out.is_dir() or not out.parent.is_dir():
        raise RecipeError(f"'{out}' cannot be written: give a file in a folder that exists.")
    if threads:
        torch.set_num_threads(threads)
    _report(f"reading '{folder}'")
    data = dataset.read(folder)
    _report(f"{len(data.train)} photos of {len(data.classes)} classes for training, {len(data.val)} for validation")
    for epoch in train(data, options, _report):
        save(out, epoch, options, data.classes)
        yield epoch.number
        _report(str(epoch))


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _exit(message: str, code: int) -> NoReturn:
    _report(message)
    sys.exit(code)


def _whole_number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number")
    return int(text)


def _positive(text: str) -> int:
    if _whole_number(text) == 0:
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.recipes.tiny_imagenet",
        description="Train the demo network on Tiny ImageNet.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("data", type=Path, help="the folder that tiny-imagenet-200.zip unzips to")
    parser.add_argument("out", type=Path, help="the checkpoint to write (.pth) after each epoch")
    parser.add_argument(
        "--epochs", type=_positive, default=TrainingOptions.epochs, help="passes over the training photos"
    )
    parser.add_argument("--batch", type=_positive, default=TrainingOptions.batch, help="photos in each step")
    parser.add_argument("--peak-rate", type=float, default=TrainingOptions.peak_rate, help="the highest learning rate")
    parser.add_argument("--width", type=_positive, default=TrainingOptions.width, help="channels of the first stage")
    parser.add_argument("--start-from", type=Path, help="a checkpoint of an earlier training of the same width")
    parser.add_argument(
        "--seed",
        type=_whole_number,
        default=TrainingOptions.seed,
        help="seed of the weights, the order of the photos and the crops",
    )
    parser.add_argument("--threads", type=_positive, help="CPU threads; default: PyTorch's choice")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM takes the same clean-up as Ctrl-C
    main()
