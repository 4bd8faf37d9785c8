"""Shell: a network without its weights, to be looked at or to be filled, made at once however large it is."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


class _Weightless(TorchFunctionMode):
    """Unset tensors, which layers make for their weights, take no memory; those with values are made as ever.

    `torch.device("meta")` would empty the latter too: the tables that some networks compute when they are built.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def shell(build: Callable[[], nn.Module]) -> nn.Module:
    """What `build` makes, its weights on the meta device."""
    with _Weightless():
        return build()
