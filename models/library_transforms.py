"""Library transforms: how timm and torchvision prepare photos for the weights that they publish."""

import math
from typing import Literal

from models.errors import CheckpointError
from models.evaluation import EvaluationTransform
from models.optional_imports import import_optional


def of_timm(name: str) -> EvaluationTransform:
    """From the network's configuration in timm. Raises CheckpointError where it does not take square photos."""
    import_optional("timm")
    config = import_optional("timm.models").get_pretrained_cfg(name, allow_unregistered=False)
    data = import_optional("timm.data").resolve_data_config({}, pretrained_cfg=config.to_dict() if config else {})
    _, height, width = data["input_size"]
    mode = data.get("crop_mode") or "center"
    if height != width or mode not in ("center", "squash"):
        raise CheckpointError(
            f"timm:{name} takes {height}x{width} photos with crop mode '{mode}': choose a network that takes square "
            "photos, cropped at the centre or squashed."
        )
    return EvaluationTransform(
        size=height,
        resize_to=math.floor(height / data["crop_pct"]),
        interpolation=_interpolation(data["interpolation"]),
        mean=_scaled(data["mean"]),
        std=_scaled(data["std"]),
        resize="squash" if mode == "squash" else "short_side",
    )


def of_torchvision(name: str) -> EvaluationTransform:
    """That of the first published weights, which torchvision's own training script made."""
    weights = next(iter(import_optional("torchvision.models").get_model_weights(name)))
    preset = weights.transforms()
    return EvaluationTransform(
        size=preset.crop_size[0],
        resize_to=preset.resize_size[0],
        interpolation=_interpolation(preset.interpolation.value),
        mean=_scaled(preset.mean),
        std=_scaled(preset.std),
    )


def _interpolation(name: str) -> Literal["bilinear", "bicubic"]:
    return "bilinear" if name == "bilinear" else "bicubic"


def _scaled(values: tuple[float, ...]) -> tuple[float, float, float]:
    """From the scale 0..1 to 0..255."""
    red, green, blue = values
    return (red * 255, green * 255, blue * 255)
