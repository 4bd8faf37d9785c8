"""Networks: the bundles that all servers serve, a MobileNetV3-Small and an SE-ResNet-50."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from bench import data, fitted
from bundle import files
from bundle.files import Bundle
from bundle.manifest import Preprocessing
from export.commands import run as export
from export.proving import samples
from tests.support import oracles

MOBILENET = data.FOLDER / "weights" / "mobilenetv3_small_tfhub_int8perchannel_dequant.pth"

_IMAGENET = Preprocessing(224, 224, "short_side", 256, "bilinear", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_CLASSES = 1000


class NoWeights(Exception):
    """The trained weights of a network are missing; the message names the file."""


def mobilenetv3(bundles: Path, _: Sequence[Path]) -> Bundle:
    """The trained network. Raises NoWeights where its file is not there."""
    if not MOBILENET.is_file():
        raise NoWeights(f"There is no '{MOBILENET}': leave the network out with --networks seresnet50.")
    oracles.timm()  # also where torchvision's operators do not fit this torch
    return _exported(bundles, MOBILENET, "mobilenetv3", "--arch", "timm:tf_mobilenetv3_small_100")


def seresnet50(bundles: Path, photos: Sequence[Path]) -> Bundle:
    """Random convolutions, and a last layer that knows each photo as a class of its own: a wrong pixel shows."""
    chosen = photos[:_CLASSES]
    pixels = np.stack([samples.load_picture(path, _IMAGENET) for path in chosen])
    served = fitted.seresnet50(pixels, torch.arange(len(chosen)), _CLASSES, _IMAGENET.mean, _IMAGENET.std)
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        checkpoint = Path(folder) / "seresnet50_fitted.pth"
        torch.save(served.network.state_dict(), checkpoint)
        return _exported(bundles, checkpoint, "seresnet50", "--resize-to", str(_IMAGENET.resize_to))


NETWORKS: dict[str, Callable[[Path, Sequence[Path]], Bundle]] = {"mobilenetv3": mobilenetv3, "seresnet50": seresnet50}
"""How each is made: under which folder, from which photos."""


def _exported(bundles: Path, checkpoint: Path, name: str, *options: str) -> Bundle:
    """Each is the only bundle under a root of its own, `bundles/name`."""
    root = bundles / name
    where = ["--name", name, "--labels", "imagenet-1k", "--model-repository", str(root)]
    export(["convert", str(checkpoint), *where, *options])
    return files.read(root / name / "1")
