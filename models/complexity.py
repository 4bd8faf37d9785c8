"""How large a network is: parameters, and multiply-adds for one image."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(network: nn.Module) -> int:
    """Trainable numbers; BatchNorm's running statistics are not among them."""
    return sum(parameter.numel() for parameter in network.parameters())


def multiply_adds(network: nn.Module, height: int, width: int) -> int:
    """Multiply-adds of convolutions and matrix products for one image, which papers call FLOPs.

    torch counts a multiply-add as two operations, hence the half.
    """
    twin = copy.deepcopy(network).to("meta")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        twin(torch.zeros(1, 3, height, width, device="meta"))
    return counter.get_total_flops() // 2
