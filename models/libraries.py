"""Libraries: networks that timm or torchvision define, `timm:NAME` and `torchvision:NAME`."""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from models.design import Traits
from models.errors import CheckpointError
from models.fit import Fit
from models.imports import library as imported
from models.shell import shell
from models.tensors import Tensors

_TORCHVISION = {
    "features.1.block.0.0.weight": "mobilenet_v3_",
    "features.1.0.block.0.0.weight": "efficientnet_",
    "trunk_output.block1.block1-0.f.a.0.weight": "regnet_y_",
}
"""torchvision's networks with SE blocks: a tensor that each kind has, and how its networks' names begin."""


@dataclass(frozen=True)
class LibraryDesign:
    """A network as a library defines it, with so many classes; a `models.design.Design`."""

    library: str
    name: str
    classes: int

    @property
    def traits(self) -> Traits:
        return Traits()

    def build(self) -> nn.Module:
        return _built(self.library, self.name, num_classes=self.classes)


def is_library(arch: str | None) -> bool:
    """Whether it is `timm:…` or `torchvision:…`."""
    return arch is not None and arch.partition(":")[0] in ("timm", "torchvision") and ":" in arch


def design(arch: str, tensors: Tensors) -> LibraryDesign:
    """The network of that name, with as many classes as the tensors' last layer has rows.

    Raises CheckpointError where the library is not there or knows no such network, or the last layer is missing.
    """
    library, name = _checked(arch)
    head = _head(library, name)
    for last in (f"{head}.bias", f"{head}.weight"):
        if last in tensors:
            return LibraryDesign(library, name.partition(".")[0], len(tensors[last]))
    raise CheckpointError(
        f"Tensor '{head}.weight' is missing, the last layer of {arch}: give the file as it was trained."
    )


def knows(arch: str) -> Callable[[Tensors], bool]:
    """Whether some tensors are named as those of the network; for finding the right set in a file."""
    library, name = _checked(arch)
    keys = set(shell(lambda: _built(library, name.partition(".")[0])).state_dict())
    return lambda tensors: 2 * len(keys & tensors.keys()) > len(keys)


def fit(arch: str) -> Fit:
    """What the library does to photos before its published weights of that name see them."""
    library, name = _checked(arch)
    return _timm_fit(name) if library == "timm" else _torchvision_fit(name)


def recognise(tensors: Tensors) -> str | None:
    """`torchvision:NAME` where just one of its networks with SE blocks has these tensors, the last layer apart."""
    kind = next((kind for mark, kind in _TORCHVISION.items() if mark in tensors), None)
    if kind is None:
        return None
    names = imported("torchvision.models").list_models()
    fitting = [name for name in names if name.startswith(kind) and _fits(name, tensors)]
    return f"torchvision:{fitting[0]}" if len(fitting) == 1 else None


def named_by(arch: str | None) -> str | None:
    """`timm:NAME` where a file's own word for its network is one of timm's names."""
    if arch is None:
        return None
    try:
        timm = imported("timm")
    except CheckpointError:
        return None
    return f"timm:{arch}" if timm.is_model(arch) else None


def _fits(name: str, tensors: Tensors) -> bool:
    network = shell(lambda: _built("torchvision", name))
    head = _last(network)
    expected = {key: value.shape for key, value in network.state_dict().items() if not key.startswith(head)}
    return expected == {key: value.shape for key, value in tensors.items() if not key.startswith(head)}


def _checked(arch: str) -> tuple[str, str]:
    library, _, name = arch.partition(":")
    module = imported("timm" if library == "timm" else "torchvision.models")
    plain = name.partition(".")[0]
    names = module.list_models()
    if plain not in names:
        near = difflib.get_close_matches(plain, names, 3)
        hint = f": did you mean {' or '.join(near)}?" if near else f": see {library}'s list_models()."
        raise CheckpointError(f"{library} has no network '{plain}'{hint}")
    return library, name


def _built(library: str, name: str, **options: Any) -> nn.Module:
    network: nn.Module
    if library == "timm":
        network = imported("timm").create_model(name, pretrained=False, **options)
    else:
        network = imported("torchvision.models").get_model(name, weights=None, **options)
    return network


def _head(library: str, name: str) -> str:
    return _last(shell(lambda: _built(library, name.partition(".")[0])))


def _last(network: nn.Module) -> str:
    """The name of the last linear layer."""
    return [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]


def _timm_fit(name: str) -> Fit:
    imported("timm")
    config = imported("timm.models").get_pretrained_cfg(name, allow_unregistered=False)
    data = imported("timm.data").resolve_data_config({}, pretrained_cfg=config.to_dict() if config else {})
    _, height, width = data["input_size"]
    mode = data.get("crop_mode") or "center"
    if height != width or mode not in ("center", "squash"):
        raise CheckpointError(
            f"timm:{name} takes {height}x{width} photos, cut by '{mode}': only square ones are served."
        )
    return Fit(
        size=height,
        resize_to=math.floor(height / data["crop_pct"]),
        interpolation=_interpolation(data["interpolation"]),
        mean=_scaled(data["mean"]),
        std=_scaled(data["std"]),
        resize="squash" if mode == "squash" else "short_side",
    )


def _torchvision_fit(name: str) -> Fit:
    """Of the first published weights: what torchvision's own training script does."""
    weights = next(iter(imported("torchvision.models").get_model_weights(name)))
    preset = weights.transforms()
    return Fit(
        size=preset.crop_size[0],
        resize_to=preset.resize_size[0],
        interpolation=_interpolation(preset.interpolation.value),
        mean=_scaled(preset.mean),
        std=_scaled(preset.std),
    )


def _interpolation(name: str) -> Literal["bilinear", "bicubic"]:
    return "bilinear" if name == "bilinear" else "bicubic"


def _scaled(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = values
    return (red * 255, green * 255, blue * 255)
