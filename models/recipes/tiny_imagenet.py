"""`python -m models.recipes.tiny_imagenet`: trains the demo network, an SE-ResNet-18 for photos of 64x64 pixels."""

import argparse
import io
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch import nn

from models import checkpoint
from models.errors import CheckpointError
from models.loading import load
from models.recipes import photos
from models.recipes.network import fresh, spec
from models.recipes.photos import RecipeError, TinyImageNet
from models.recipes.training import Accuracy, Training, accuracy

COARSE_SIZE = 48
COARSE_SHARE = 0.78
"""Most epochs see photos of 48 pixels, at about half the work of 64; the last ones grow used to the full size
(Touvron et al., "Fixing the train-test resolution discrepancy", arXiv 1906.06423)."""


@dataclass(frozen=True)
class Plan:
    """What one training is to do. `peak_rate` is the highest learning rate, for a `batch` of so many photos.

    `start_from` is a file that an earlier training wrote: from it, all epochs see photos of full size.
    """

    epochs: int = 11
    batch: int = 128
    peak_rate: float = 0.1
    width: int = 24
    start_from: Path | None = None
    seed: int = 0


@dataclass(frozen=True)
class Epoch:
    """An epoch that has ended, and how good the raw and the averaged weights then were."""

    number: int
    size: int
    loss: float
    raw: Accuracy
    averaged: Accuracy
    better: nn.Module

    def __str__(self) -> str:
        return (
            f"epoch {self.number} at {self.size} pixels: loss {self.loss:.3f}, top-1/top-5 "
            f"raw {self.raw.top1:.2%}/{self.raw.top5:.2%}, averaged {self.averaged.top1:.2%}/{self.averaged.top5:.2%}"
        )


def train(data: TinyImageNet, plan: Plan, say: Callable[[str], None]) -> Iterator[Epoch]:
    """Train epoch by epoch; what is handed out is measured on `data.val`, and lives until the next is asked for.

    Raises RecipeError when a batch cannot be filled or the loss is lost, CheckpointError when `start_from` is unfit.
    """
    per_epoch = len(data.train) // plan.batch
    if not per_epoch:
        raise RecipeError(f"{len(data.train)} photos do not fill a batch of {plan.batch}: give a smaller --batch.")
    wanted = spec(plan.width, len(data.classes))
    start = plan.start_from
    network = load(checkpoint.read(start).tensors, wanted) if start else fresh(wanted, plan.seed)
    training = Training(network, plan.peak_rate, plan.batch, plan.epochs * per_epoch, plan.seed, say)
    coarse = 0 if start else math.ceil(COARSE_SHARE * plan.epochs)
    for number in range(1, plan.epochs + 1):
        size = COARSE_SIZE if number <= coarse else photos.SIDE
        loss = training.epoch(data.train, size)
        raw, averaged = (accuracy(n, data.val, training.device) for n in (training.network, training.averaged))
        better = training.network if raw > averaged else training.averaged
        yield Epoch(number, size, loss, raw, averaged, better)


def save(path: Path, epoch: Epoch, plan: Plan, classes: tuple[str, ...]) -> None:
    """Write the better network of an epoch; the file is the old or the new one at every moment, never a part."""
    best = max(epoch.raw, epoch.averaged)
    state = {key: value.cpu().contiguous() for key, value in epoch.better.state_dict().items()}
    facts = {"arch": spec(plan.width, len(classes)).name, "width": plan.width, "epoch": epoch.number}
    buffer = io.BytesIO()
    torch.save(facts | {"top1": best.top1, "top5": best.top5, "classes": list(classes), "state_dict": state}, buffer)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise RecipeError(f"'{path}' cannot be written ({error.strerror}): make room or choose another.") from error
    finally:
        part.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> None:
    """Exit codes: 0 done, 1 refused with a sentence on standard error, 2 wrong usage, 130 interrupted."""
    wishes = vars(_parser().parse_args(arguments))
    data, out, threads = (wishes.pop(name) for name in ("data", "out", "threads"))
    saved = 0
    try:
        for number in _run(data, out, threads, Plan(**wishes)):
            saved = number
    except (RecipeError, CheckpointError) as error:
        _leave(f"training: {error}", 1)
    except KeyboardInterrupt:
        held = f"'{out}' holds epoch {saved}" if saved else "no epoch had ended, so no file was written"
        _leave(f"training: interrupted; {held}.", 130)
    print(out)


def _run(folder: Path, out: Path, threads: int | None, plan: Plan) -> Iterator[int]:
    """The numbers of the epochs, each when its file is whole."""
    if out.is_dir() or not out.parent.is_dir():
        raise RecipeError(f"'{out}' cannot be a file: name one in a folder that exists.")
    if threads:
        torch.set_num_threads(threads)
    _say(f"reading '{folder}'")
    data = photos.read(folder)
    _say(f"{len(data.train)} photos of {len(data.classes)} classes to learn from, {len(data.val)} to judge by")
    for epoch in train(data, plan, _say):
        save(out, epoch, plan, data.classes)
        yield epoch.number
        _say(str(epoch))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _leave(message: str, code: int) -> NoReturn:
    _say(message)
    sys.exit(code)


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number")
    return int(text)


def _positive(text: str) -> int:
    if _whole(text) == 0:
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.recipes.tiny_imagenet",
        description="Train the demo network on Tiny ImageNet.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("data", type=Path, help="the folder that tiny-imagenet-200.zip unzips to")
    parser.add_argument("out", type=Path, help="the checkpoint to write (.pth), anew after each epoch")
    parser.add_argument("--epochs", type=_positive, default=Plan.epochs, help="passes over the training photos")
    parser.add_argument("--batch", type=_positive, default=Plan.batch, help="photos a step")
    parser.add_argument("--peak-rate", type=float, default=Plan.peak_rate, help="the highest learning rate")
    parser.add_argument("--width", type=_positive, default=Plan.width, help="channels of the first stage")
    parser.add_argument("--start-from", type=Path, help="a checkpoint of an earlier training of the same width")
    parser.add_argument("--seed", type=_whole, default=Plan.seed, help="of the weights, the order and the crops")
    parser.add_argument("--threads", type=_positive, help="CPU threads; PyTorch chooses where not given")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both leave through the same clean-up
    main()
