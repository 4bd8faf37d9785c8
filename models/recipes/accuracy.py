"""Accuracy: the share of photos whose class a network names."""

from typing import NamedTuple

import torch
from torch import nn

from models.recipes.crops import normalised
from models.recipes.dataset import Split

_BATCH = 500  # photos


class Accuracy(NamedTuple):
    """Shares of the photos, 0..1. They compare as tuples: top-5 decides only where top-1 is equal."""

    top1: float
    top5: float


@torch.inference_mode()
def measure(network: nn.Module, photos: Split, device: torch.device) -> Accuracy:
    """Top-1 and top-5 accuracy on uncropped photos, in float32. With fewer than five classes top-5 is always 1."""
    network.eval()
    first = among = 0
    for start in range(0, len(photos), _BATCH):
        part = slice(start, start + _BATCH)
        pixels, labels = (torch.from_numpy(a[part]).to(device) for a in (photos.pixels, photos.labels))
        logits = network(normalised(pixels.permute(0, 3, 1, 2).float()))
        hits = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        first += int(hits[:, 0].sum())
        among += int(hits.sum())
    return Accuracy(first / len(photos), among / len(photos))
