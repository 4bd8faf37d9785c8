"""SE-ResNet-50 with random weights: the network that load is measured on, exported as a user exports one."""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from bench.running import ROOT
from models.architectures import seresnet

NAME = "seresnet50"
_SEED = 1709
_EXPORT_LIMIT_S = 600


class ExportFailed(Exception):
    """`python -m export convert` refused the checkpoint, or took too long."""


def export(bundles: Path, *options: str) -> Path:
    """Write its bundle under a folder, with its progress on standard error, and return the bundle's folder.

    `options`: more of `python -m export convert`.

    Raises ExportFailed where the export does.
    """
    torch.manual_seed(_SEED)
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        checkpoint = Path(folder) / f"{NAME}_random.pth"
        torch.save(seresnet(50).build().state_dict(), checkpoint)
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
            *options,
        ]
        try:
            ended = subprocess.run(
                [*command, "--model-repository", str(bundles.resolve())],
                cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=_EXPORT_LIMIT_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ExportFailed(f"The export of {NAME} took more than {_EXPORT_LIMIT_S} s.") from None
    if ended.returncode != 0:
        raise ExportFailed(f"The export of {NAME} ended with code {ended.returncode}.")
    return Path(ended.stdout.strip())
