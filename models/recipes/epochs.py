"""Epochs: trains the demo network epoch by epoch, and writes the checkpoint of each."""

import io
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from models import checkpoint
from models.loading import load
from models.recipes import accuracy, dataset
from models.recipes.accuracy import Accuracy
from models.recipes.dataset import RecipeError, TinyImageNet
from models.recipes.network import initialised, spec
from models.recipes.training import Training

COARSE_SIZE = 48
COARSE_SHARE = 0.78
"""This share of the epochs trains on photos of 48 pixels, which need about half the work of 64; the last epochs adapt
the network to the full size (Touvron et al., "Fixing the train-test resolution discrepancy", arXiv 1906.06423)."""


@dataclass(frozen=True)
class TrainingOptions:
    """What the user chooses for a training. `peak_rate` is the highest learning rate, for batches of `batch` photos.

    `width` is the number of channels of the first stage. `start_from` is a checkpoint of an earlier training; with it,
    all epochs train on photos of full size.
    """

    epochs: int = 11
    batch: int = 128
    peak_rate: float = 0.1
    width: int = 24
    start_from: Path | None = None
    seed: int = 0


@dataclass(frozen=True)
class Epoch:
    """A finished epoch at photos of `size` pixels: its mean loss, and the accuracy of the raw and the averaged weights.

    `better` is the network with the more accurate of the two.
    """

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


def train(data: TinyImageNet, options: TrainingOptions, report: Callable[[str], None]) -> Iterator[Epoch]:
    """Train epoch by epoch. Accuracies are measured on `data.val`. An epoch's network changes when the next one starts.

    Raises RecipeError when there are too few photos for a batch or the loss is no longer finite, and CheckpointError
    when `start_from` cannot be read or holds another network.
    """
    per_epoch = len(data.train) // options.batch
    if not per_epoch:
        raise RecipeError(f"{len(data.train)} photos do not fill a batch of {options.batch}: give a smaller --batch.")
    wanted = spec(options.width, len(data.classes))
    start = options.start_from
    network = load(checkpoint.read(start).tensors, wanted) if start else initialised(wanted, options.seed)
    training = Training(network, options.peak_rate, options.batch, options.epochs * per_epoch, options.seed, report)
    coarse = 0 if start else math.ceil(COARSE_SHARE * options.epochs)
    for number in range(1, options.epochs + 1):
        size = COARSE_SIZE if number <= coarse else dataset.SIDE
        loss = training.epoch(data.train, size)
        raw, averaged = (accuracy.measure(n, data.val, training.device) for n in (training.network, training.averaged))
        better = training.network if raw > averaged else training.averaged
        yield Epoch(number, size, loss, raw, averaged, better)


def save(path: Path, epoch: Epoch, options: TrainingOptions, classes: tuple[str, ...]) -> None:
    """Write a checkpoint of the better network of an epoch, atomically: the path always holds a whole file, old or new.

    Raises RecipeError where it cannot be written.
    """
    best = max(epoch.raw, epoch.averaged)
    state = {key: value.cpu().contiguous() for key, value in epoch.better.state_dict().items()}
    facts = {"arch": spec(options.width, len(classes)).name, "width": options.width, "epoch": epoch.number}
    buffer = io.BytesIO()
    torch.save(facts | {"top1": best.top1, "top5": best.top5, "classes": list(classes), "state_dict": state}, buffer)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with draft.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise RecipeError(f"'{path}' cannot be written ({error.strerror}): make room or choose another.") from error
    finally:
        draft.unlink(missing_ok=True)
