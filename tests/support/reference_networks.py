"""Reference networks: networks from other projects, and their tensors under the names in each format's files.

The networks are those of timm and pytorchcv. For moskomule, MMPretrain, PaddleClas and NVIDIA they are timm's, with
tensors renamed as the code of these projects documents.
"""

import functools
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from tests.support import oracles

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class ReferenceNetwork:
    """A network, and what reading its file must find. `rename` gives its tensors the names and shapes in the file.

    `repeats`: a smaller network of the same format has the same stem and the same kinds of units, fewer of them.
    """

    format: str
    name: str
    variant: str
    build: Callable[[], nn.Module]
    rename: Callable[[Tensors], Tensors] = dict
    file: str = "weights.pth"
    size: int = 64
    repeats: bool = False

    @property
    def id(self) -> str:
        return f"{self.format}:{self.name}:{self.variant}"


def timm(name: str, **more: Any) -> Callable[[], nn.Module]:
    return lambda: oracles.timm().create_model(name, pretrained=False, **more)


def sixteen_squeezed(name: str) -> Callable[[], nn.Module]:
    """timm's network whose SE blocks have 16 channels inside in every stage, as in NVIDIA's networks."""

    def build() -> nn.Module:
        library = oracles.timm()
        se = functools.partial(library.layers.SEModule, rd_channels=16)
        network: nn.Module = library.create_model(name, pretrained=False, block_args={"attn_layer": se})
        return network

    return build


def pytorchcv(module: str, name: str, any_size: bool = False) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        oracles.torchvision()
        models: ModuleType = importlib.import_module(f"pytorchcv.models.{module}")
        network: nn.Module = getattr(models, name)()
        if any_size:  # the last pooling is a window of 7x7, which is the whole map only at 224 pixels
            network.get_submodule("features").final_pool = nn.AdaptiveAvgPool2d(1)
        return network

    return build


def distinct(network: nn.Module, images: Tensor) -> nn.Module:
    """The network with random weights that give different images different answers.

    With default weights every class has p = 0.001. Here BatchNorm statistics come from the images, and the last layer
    is scaled until the median of the images' best probabilities is between 0.3 and 0.9. The last BatchNorm of a
    residual unit is small, as in trained networks: otherwise 50 units amplify rounding so much that torch's float32 and
    float64 answers differ by more than the tolerance.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean over all that passes through
            last = re.search(r"(bn3|conv3\.bn)$", name)
            nn.init.uniform_(module.weight, *((0.1, 0.3) if last else (0.5, 1.5)))
            nn.init.uniform_(module.bias, -0.2, 0.2)
    head = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    with torch.inference_mode():
        network.train()(images)
        logits = network.eval()(images)
        factors = (1.25**power for power in range(-20, 60))
        sharpness = next(factor for factor in factors if 0.3 <= _best(logits * factor) <= 0.9)
        head.weight.mul_(sharpness)
        head.bias.mul_(sharpness)
    return network


def _best(logits: Tensor) -> float:
    return logits.softmax(1).max(1).values.median().item()


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """The network that `build` makes, with the same random weights each time."""
    torch.manual_seed(20180619)
    return build()


def without_se_bias(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """The same network with zeros as SE biases, which moskomule's SE layers do not have."""

    def zeroed() -> nn.Module:
        network = build()
        for name, parameter in network.named_parameters():
            if re.search(r"\.se\.fc\d\.bias$", name):
                nn.init.zeros_(parameter)
        return network

    return zeroed


def to_moskomule(tensors: Tensors) -> Tensors:
    renamed = {}
    for key, value in tensors.items():
        if re.search(r"\.se\.fc\d\.bias$", key):
            continue
        if ".se." in key:
            value = value[:, :, 0, 0]
        renamed[key.replace("se.fc1", "se.fc.0").replace("se.fc2", "se.fc.2")] = value
    return renamed


def to_mmpretrain(tensors: Tensors) -> Tensors:
    renamed = {}
    for key, value in tensors.items():
        key = re.sub(r"\.se\.fc(\d)\.", r".se_layer.conv\1.conv.", key)
        renamed[f"head.{key}" if key.startswith("fc.") else f"backbone.{key}"] = value
    return renamed


def to_nvidia(tensors: Tensors) -> Tensors:
    renamed = {}
    for key, value in tensors.items():
        key = key.replace("se.fc1", "squeeze.squeeze").replace("se.fc2", "squeeze.expand")
        renamed[re.sub(r"^layer(\d)", lambda found: f"layers.{int(found[1]) - 1}", key)] = value
    return renamed


def to_ngc_20_06(tensors: Tensors) -> Tensors:
    """As NGC published them in 2020: stages have torchvision's names, SE weights are matrices."""
    return {
        key.replace("se.fc1", "squeeze.squeeze").replace("se.fc2", "squeeze.expand"): value.flatten(1)
        if ".se." in key and value.ndim == 4
        else value
        for key, value in tensors.items()
        if not key.endswith("num_batches_tracked")
    }


_Rename = tuple[str, str | Callable[[re.Match[str]], str]]
_PADDLE: tuple[_Rename, ...] = (
    (r"^layer(\d)\.(\d+)\.", lambda found: f"bb_{int(found[1]) - 1}_{found[2]}."),
    (r"\.conv(\d)\.", lambda found: f".conv{int(found[1]) - 1}._conv."),
    (r"\.bn(\d)\.", lambda found: f".conv{int(found[1]) - 1}._batch_norm."),
    (r"\.se\.fc1\.", ".scale.squeeze."),
    (r"\.se\.fc2\.", ".scale.excitation."),
    (r"^fc\.", "out."),
    (r"\.running_mean$", "._mean"),
    (r"\.running_var$", "._variance"),
)


def to_paddle(tensors: Tensors, *stem_and_shortcut: tuple[str, str]) -> Tensors:
    """Linear layers are (in, out), and there are no step counters."""
    renamed = {}
    for key, value in tensors.items():
        if key.endswith("num_batches_tracked"):
            continue
        if ".se.fc" in key and value.ndim == 4:
            value = value[:, :, 0, 0].T
        elif key == "fc.weight":
            value = value.T
        for pattern, by in (*stem_and_shortcut, *_PADDLE):
            key = re.sub(pattern, by, key)
        renamed[key] = value
    return renamed


def to_paddle_plain(tensors: Tensors) -> Tensors:
    return to_paddle(
        tensors,
        (r"^conv1\.", "conv._conv."),
        (r"^bn1\.", "conv._batch_norm."),
        (r"downsample\.0\.", "short._conv."),
        (r"downsample\.1\.", "short._batch_norm."),
    )


def to_paddle_vd(tensors: Tensors) -> Tensors:
    return to_paddle(
        tensors,
        (r"^conv1\.0\.", "conv1_1._conv."),
        (r"^conv1\.1\.", "conv1_1._batch_norm."),
        (r"^conv1\.3\.", "conv1_2._conv."),
        (r"^conv1\.4\.", "conv1_2._batch_norm."),
        (r"^conv1\.6\.", "conv1_3._conv."),
        (r"^bn1\.", "conv1_3._batch_norm."),
        (r"downsample\.1\.", "short._conv."),
        (r"downsample\.2\.", "short._batch_norm."),
    )


SE = {"block_args": {"attn_layer": "se"}}

TWO_UNITS = (2, 2, 2, 2)
"""Units of each stage: SENet-28, whose stem, units and shortcuts are those of SENet-154."""

NETWORKS = (
    *(
        ReferenceNetwork("timm", name, "A", timm(name))
        for name in (
            *("seresnet18", "seresnet34", "seresnet50"),
            *("seresnext26d_32x4d", "seresnext26t_32x4d", "seresnext50_32x4d"),
        )
    ),
    *(
        ReferenceNetwork("timm", name, "A", timm(name), repeats=True)
        for name in ("seresnet101", "seresnet152", "seresnet152d", "seresnext101_32x4d", "senet154")
    ),
    ReferenceNetwork("timm", "senet28", "A", timm("senet154", layers=TWO_UNITS)),
    *(
        ReferenceNetwork("legacy", name, "B", timm(f"legacy_{name}"))
        for name in ("seresnet18", "seresnet34", "seresnet50")
    ),
    ReferenceNetwork("legacy", "seresnet26", "B", timm("legacy_seresnet50", layers=TWO_UNITS)),
    *(
        ReferenceNetwork("legacy", name, "B", timm(f"legacy_{name}"), repeats=True)
        for name in ("seresnet101", "seresnet152")
    ),
    *(
        ReferenceNetwork("legacy", name, "D", timm(f"legacy_{name}"))
        for name in ("seresnext26_32x4d", "seresnext50_32x4d")
    ),
    ReferenceNetwork("legacy", "seresnext101_32x4d", "D", timm("legacy_seresnext101_32x4d"), repeats=True),
    ReferenceNetwork("legacy-senet", "senet28", "D", timm("legacy_senet154", layers=TWO_UNITS)),
    ReferenceNetwork("legacy-senet", "senet154", "D", timm("legacy_senet154"), repeats=True),
    ReferenceNetwork("mmpretrain", "seresnet50", "A", timm("seresnet50"), to_mmpretrain),
    ReferenceNetwork("mmpretrain", "seresnext50_32x4d", "A", timm("seresnext50_32x4d"), to_mmpretrain),
    ReferenceNetwork("moskomule", "seresnet18", "A", without_se_bias(timm("seresnet18")), to_moskomule),
    ReferenceNetwork("moskomule", "seresnet50", "A", without_se_bias(timm("seresnet50")), to_moskomule),
    ReferenceNetwork("nvidia", "seresnext50_32x4d", "A", sixteen_squeezed("resnext50_32x4d"), to_nvidia),
    ReferenceNetwork(
        "nvidia", "seresnext101_32x4d", "A", sixteen_squeezed("resnext101_32x4d"), to_nvidia, repeats=True
    ),
    ReferenceNetwork("nvidia", "seresnet50", "A", timm("seresnet50"), to_ngc_20_06),
    ReferenceNetwork("paddle", "seresnext50_32x4d", "A", timm("seresnext50_32x4d"), to_paddle_plain, "a.pdparams"),
    ReferenceNetwork("paddle-vd", "seresnet18d", "A", timm("resnet18d", **SE), to_paddle_vd, "a.pdparams"),
    ReferenceNetwork("paddle-vd", "seresnet50d", "A", timm("resnet50d", **SE), to_paddle_vd, "a.pdparams"),
    ReferenceNetwork("pytorchcv", "seresnet18", "A", pytorchcv("seresnet", "seresnet18"), size=224),
    ReferenceNetwork(
        "pytorchcv", "seresnet50", "C", pytorchcv("seresnet", "seresnet50", any_size=True), file="seresnet50-0662.pth"
    ),
    ReferenceNetwork(
        "pytorchcv", "seresnet50", "A", pytorchcv("seresnet", "seresnet50b", any_size=True), file="seresnet50b-06.pth"
    ),
    ReferenceNetwork("pytorchcv", "seresnext50_32x4d", "A", pytorchcv("seresnext", "seresnext50_32x4d", any_size=True)),
    ReferenceNetwork("pytorchcv-senet", "senet28", "A", pytorchcv("senet", "senet28", any_size=True)),
    ReferenceNetwork("pytorchcv-senet", "senet154", "A", pytorchcv("senet", "senet154", any_size=True), repeats=True),
    ReferenceNetwork("pytorchcv-cifar", "seresnet20", "A", pytorchcv("seresnet_cifar", "seresnet20_cifar10"), size=32),
    ReferenceNetwork("torchvision", "resnet18", "A", timm("resnet18")),
    ReferenceNetwork("torchvision", "resnext50_32x4d", "A", timm("resnext50_32x4d")),
)
