"""SE-ResNet-50 with random weights: the network that load is measured on, exported as a user exports one."""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from bench.running import ROOT
from models.seresnet import BlockSpec, SEResNet, SEResNetSpec

NAME = "seresnet50"
CLASSES = 1000
STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))
"""Blocks of each stage and their inside channels; He et al., "Deep Residual Learning" (arXiv 1512.03385), table 1."""

EXPANSION, REDUCTION = 4, 16
"""Outputs for each inside channel, and channels for each squeezed one; Hu et al. (arXiv 1709.01507), section 4."""

_SEED = 1709
_EXPORT_LIMIT_S = 600


class ExportFailed(Exception):
    """`python -m export convert` refused the checkpoint, or took too long."""


def spec() -> SEResNetSpec:
    """The standard SE-ResNet-50 for ImageNet: 28.1 million parameters, 4.1 GMACs at 224x224."""
    stages, inputs = [], 64
    for number, (blocks, inside) in enumerate(STAGES):
        rows = []
        for index in range(blocks):
            rows.append(_block(inputs, inside, stride=2 if number > 0 and index == 0 else 1, first=index == 0))
            inputs = inside * EXPANSION
        stages.append(tuple(rows))
    return SEResNetSpec("7x7", 64, tuple(stages), CLASSES)


def export(bundles: Path) -> Path:
    """Write its bundle under a folder, with its progress on standard error, and return the bundle's folder.

    Raises ExportFailed where the export does.
    """
    torch.manual_seed(_SEED)
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        checkpoint = Path(folder) / f"{NAME}_random.pth"
        torch.save(SEResNet(spec()).state_dict(), checkpoint)
        command = [
            sys.executable,
            "-m",
            "export",
            "convert",
            str(checkpoint),
            "--name",
            NAME,
            "--labels",
            "imagenet-1k",
        ]
        try:
            ended = subprocess.run(
                [*command, "--bundles", str(bundles.resolve())],
                cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=_EXPORT_LIMIT_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ExportFailed(f"The export of {NAME} took more than {_EXPORT_LIMIT_S} s.") from None
    if ended.returncode != 0:
        raise ExportFailed(f"The export of {NAME} ended with code {ended.returncode}.")
    return Path(ended.stdout.strip())


def _block(inputs: int, inside: int, stride: int, first: bool) -> BlockSpec:
    outputs = inside * EXPANSION
    return BlockSpec("bottleneck", inputs, inside, outputs, outputs // REDUCTION, stride, projection=first)
