"""Backbone: a network without its head, which gives a detector the maps of its stages."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from export.errors import ExportError
from models.networks.seresnet import SEResNet


class Backbone(nn.Module):
    """The maps of some stages of a network.

    Takes (n, 3, height, width) float32, RGB and normalised, also for a network that takes blue, green, red (`bgr`).
    Gives for each of `stages`, which ascend, (n, channels, rows, columns) float32. Stage k is the one that strides to
    2^k in a network for ImageNet; detectors call its map Ck. Raises ExportError where the network has no such stage.
    """

    def __init__(self, network: nn.Module, name: str, stages: Sequence[int] | None = None, bgr: bool = False) -> None:
        super().__init__()
        places = _places(network, name)
        self.stages = tuple(sorted(set(stages))) if stages else tuple(places)
        if missing := [stage for stage in self.stages if stage not in places]:
            raise ExportError(
                f"A {name} has no stage {missing[0]}, only {', '.join(map(str, places))}: name some of these with "
                "--stages."
            )
        self.network = network
        self.bgr = bgr
        self._places = [places[stage] for stage in self.stages]

    @property
    def outputs(self) -> list[str]:
        """The name of each map: `c2`, `c3` …"""
        return [f"c{stage}" for stage in self.stages]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = images.flip(1) if self.bgr else images
        if isinstance(self.network, SEResNet):
            maps = self.network.maps(x, self._places[-1] + 1)
            return tuple(maps[place] for place in self._places)
        of_timm: Any = self.network
        return tuple(of_timm.forward_intermediates(x, self._places, stop_early=True, intermediates_only=True))


def _places(network: nn.Module, name: str) -> dict[int, int]:
    """Where the map of each stage from the second on stands among all maps of the network, the first stage first."""
    if isinstance(network, SEResNet):
        return {number + 1: number - 1 for number in range(1, network.stages + 1)}
    of_timm: Any = network
    if not hasattr(network, "feature_info") or not hasattr(network, "forward_intermediates"):
        raise ExportError(
            f"The stages of a {name} are not known, so it gives a detector no maps. Choose an SE-ResNet, SE-ResNeXt, "
            "SENet, a ResNet without SE, or a network of timm (--arch timm:NAME). As a classifier it can be written "
            "with `python -m export convert`."
        )
    reductions = [int(row["reduction"]) for row in of_timm.feature_info]
    places = {reduction.bit_length() - 1: place for place, reduction in enumerate(reductions) if reduction >= 4}
    if len(places) < 2:
        raise ExportError(
            f"All maps of timm's {name} have the stride {reductions[-1]}: a detector with a pyramid needs several. "
            "Choose a network with stages, e.g. timm:seresnet50."
        )
    return places
