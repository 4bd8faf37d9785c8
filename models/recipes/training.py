"""Training: the steps that train a network and the running average of its weights."""

import copy
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.recipes.crops import normalised, random_crops
from models.recipes.dataset import RecipeError, Split

LABEL_SMOOTHING = 0.1
"""Szegedy et al., "Rethinking the Inception Architecture" (arXiv 1512.00567), section 7."""

MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
LONGEST_WARM_UP = 500  # steps
LONGEST_MEMORY = 0.998
"""Largest share of the average that each step keeps: then the average is over about 500 steps."""

REPORT_EVERY = 100  # steps


class Training:
    """Trains for `steps` steps of `batch` photos each, on a CUDA device where there is one.

    `network` is trained; `averaged` has the running average of its weights. `report` is called with a line of progress
    every REPORT_EVERY steps.
    """

    def __init__(
        self, network: nn.Module, peak_rate: float, batch: int, steps: int, seed: int, report: Callable[[str], None]
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = copy.deepcopy(self.network).eval()
        self._pairs = list(zip(self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True))
        self._optimiser = optimiser(self.network)
        self._rng = np.random.default_rng(seed)
        self._bfloat16 = bfloat16_pays(self.device)
        self._peak_rate, self._batch, self._steps, self._report = peak_rate, batch, steps, report
        self._done = 0
        self._started = time.monotonic()

    def epoch(self, photos: Split, size: int) -> float:
        """Train on each photo once, in random order, at `size` pixels. An incomplete last batch is left out.

        Returns the mean loss. Raises RecipeError when the loss is no longer finite.
        """
        self.network.train()
        order = self._rng.permutation(len(photos))
        total, steps = torch.zeros((), device=self.device), len(photos) // self._batch
        for step in range(1, steps + 1):
            chosen = order[(step - 1) * self._batch : step * self._batch]
            pixels, labels = (torch.from_numpy(a[chosen]).to(self.device) for a in (photos.pixels, photos.labels))
            total += self._step(normalised(random_crops(pixels, size, self._rng)), labels)
            if self._done % REPORT_EVERY == 0:
                self._report_progress(_finite(float(total) / step))
        return _finite(float(total) / steps)

    def _step(self, photos: Tensor, labels: Tensor) -> Tensor:
        for group in self._optimiser.param_groups:
            group["lr"] = rate(self._done, self._steps, self._peak_rate)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16):
            logits = self.network(photos)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING)
        self._optimiser.zero_grad()
        torch.autograd.backward(loss)
        self._optimiser.step()
        self._done += 1
        self._average()
        return loss.detach()

    @torch.no_grad()
    def _average(self) -> None:
        """Polyak averaging with exponential weights. It keeps little at first, so that early weights are forgotten."""
        memory = min(LONGEST_MEMORY, (1 + self._done) / (10 + self._done))
        for mean, latest in self._pairs:
            if mean.is_floating_point():
                mean.lerp_(latest, 1 - memory)
            else:
                mean.copy_(latest)

    def _report_progress(self, loss: float) -> None:
        step_s = (time.monotonic() - self._started) / self._done
        left_min = step_s * (self._steps - self._done) / 60
        self._report(
            f"step {self._done}/{self._steps}: loss {loss:.3f}, {1000 * step_s:.0f} ms a step, {left_min:.0f} min left"
        )


def optimiser(network: nn.Module) -> torch.optim.SGD:
    """SGD with Nesterov momentum. Weight decay acts on kernels only, not on biases and BatchNorm's parameters.

    He et al., "Bag of Tricks for Image Classification" (arXiv 1812.01187), section 3.1.
    """
    kernels = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=0.0, momentum=MOMENTUM, nesterov=True)


def rate(step: int, steps: int, peak: float) -> float:
    """The learning rate of step 0 … steps - 1: linear warm-up, then half a cosine down to nearly 0.

    Warm-up: Goyal et al., "Accurate, Large Minibatch SGD" (arXiv 1706.02677), section 2.2. Cosine: Loshchilov and
    Hutter, "SGDR" (arXiv 1608.03983), equation 5, without restarts.
    """
    rise = min(LONGEST_WARM_UP, steps // 10)
    if step < rise:
        return peak * (step + 1) / rise
    return peak * (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2


def bfloat16_pays(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32: where the hardware multiplies it (Ampere on, AVX-512 BF16, AMX)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return any(able.get(feature, False) for feature in ("avx512_bf16", "amx_bf16"))


def _finite(loss: float) -> float:
    if not math.isfinite(loss):
        raise RecipeError("The loss is no longer finite: train with a lower --peak-rate.")
    return loss
