"""SE by PyTorch in float64, beside the kernels: cases, and how far they are from it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from tests.support import se_kernels

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TOLERANCE = {"fp32": 1e-5, "fp16": 1e-3, "bf16": 8e-3}
"""Of a value, or of 1: rounding to the precision once, and sums in another order."""

FORMATS = {"LINEAR": torch.contiguous_format, "HWC8": torch.channels_last}


@dataclass(frozen=True)
class Case:
    """Tensors of one precision, and maps of one layout, for all three kernels."""

    x: torch.Tensor
    residual: torch.Tensor
    gates: torch.Tensor
    weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
    """w1, b1, w2, b2"""

    def gate(self) -> torch.Tensor:
        w1, b1, w2, b2 = (weight.double() for weight in self.weights)
        mean = self.x.double().mean((2, 3), keepdim=True)
        squeezed = torch.relu(torch.nn.functional.conv2d(mean, w1, b1))
        return torch.sigmoid(torch.nn.functional.conv2d(squeezed, w2, b2))

    def scale(self) -> torch.Tensor:
        return self.x.double() * self.gates.double()

    def scale_add_relu(self) -> torch.Tensor:
        return torch.relu(self.scale() + self.residual.double())


Kernel = Callable[[Case, int], torch.Tensor]
KERNELS: dict[str, Kernel] = {
    "gate": lambda case, tactic: se_kernels.gate(case.x, *case.weights, tactic=tactic),
    "scale": lambda case, tactic: se_kernels.scale(case.x, case.gates, tactic),
    "scale_add_relu": lambda case, tactic: se_kernels.scale_add_relu(case.x, case.gates, case.residual, tactic),
}


def case(
    images: int, channels: int, squeezed: int, height: int, width: int, precision: str, layout: str, device: str = "cpu"
) -> Case:
    dtype, chance = PRECISIONS[precision], torch.Generator(device).manual_seed(channels + height)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=chance, device=device).to(dtype)

    x, residual = (drawn(images, channels, height, width) + 0.5 for _ in range(2))
    weights = (
        drawn(squeezed, channels, 1, 1) / channels**0.5,
        drawn(squeezed),
        drawn(channels, squeezed, 1, 1),
        drawn(channels),
    )
    gates = torch.sigmoid(drawn(images, channels, 1, 1)).to(dtype)
    memory = FORMATS[layout]
    return Case(x.to(memory_format=memory), residual.to(memory_format=memory), gates, weights)


def mislaid(given: Case) -> Case:
    """The same memory, taken for the other layout."""

    def lie(x: torch.Tensor) -> torch.Tensor:
        last = x.is_contiguous(memory_format=torch.channels_last)
        memory = (x.permute(0, 2, 3, 1) if last else x).reshape(-1)
        other = torch.empty_like(x, memory_format=torch.contiguous_format if last else torch.channels_last)
        (other if last else other.permute(0, 2, 3, 1)).view(-1).copy_(memory)
        return other

    return Case(lie(given.x), lie(given.residual), given.gates, given.weights)


def errors(given: Case) -> Iterator[tuple[str, int, float, float]]:
    """Kernel, tactic, and the largest error relative to a value or to 1: as it should be, and of a mislaid map."""
    for name, kernel in KERNELS.items():
        expected = getattr(given, name)()
        for tactic in (1, 2):
            found, wrong = kernel(given, tactic), kernel(mislaid(given), tactic)
            assert found.dtype == given.x.dtype and found.shape == expected.shape
            yield name, tactic, error(expected, found), error(expected, wrong)


def error(expected: torch.Tensor, found: torch.Tensor) -> float:
    return float(((found.double() - expected).abs() / expected.abs().clamp(min=1)).max())
