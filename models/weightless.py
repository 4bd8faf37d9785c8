"""Weightless: a network whose weights have shapes but no values. It is made at once, however large it is."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


class _EmptyOnMeta(TorchFunctionMode):
    """Makes `torch.empty`, with which layers allocate their weights, allocate on the meta device: no memory is used.

    `torch.device("meta")` would also take the values of tensors that some networks compute when they are built.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def weightless(build: Callable[[], nn.Module]) -> nn.Module:
    """The network that `build` makes, with its weights on the meta device.

    It serves to read names and shapes, or to be filled by `load_state_dict(…, assign=True)`.
    """
    with _EmptyOnMeta():
        return build()
