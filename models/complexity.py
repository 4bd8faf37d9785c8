"""How large a network is: parameters, and multiply-adds for one image."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(network: nn.Module) -> int:
    """The number of trainable parameters. BatchNorm's running statistics are not counted."""
    return sum(parameter.numel() for parameter in network.parameters())


def multiply_adds(network: nn.Module, height: int, width: int) -> int:
    """Multiply-adds of the convolutions and matrix products for one image of that size. Papers call them FLOPs.

    torch counts a multiply-add as two operations, so its count is halved.
    """
    twin = copy.deepcopy(network).to("meta")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        twin(torch.zeros(1, 3, height, width, device="meta"))
    return counter.get_total_flops() // 2
