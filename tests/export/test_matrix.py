"""Networks of other people's code, through the whole conversion: the bundle's graph beside their own answers."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from bundle import files, parity
from export.convert import STEPS, convert
from export.graph import ServedNetwork
from export.progress import Progress
from export.samples import generated
from export.wishes import Wishes
from models.fit import Fit
from tests.models.test_oracle import write
from tests.models.trained_elsewhere import NETWORKS, Elsewhere, seeded, telling

FEW = ("legacy:seresnet50:B", "paddle-vd:seresnet18d:A", "pytorchcv-cifar:seresnet20:A")
"""They differ in pooling, stride, stem and shortcut; the others take minutes and gigabytes."""


@pytest.mark.parametrize(
    "elsewhere", [pytest.param(case, id=case.id, marks=() if case.id in FEW else pytest.mark.slow) for case in NETWORKS]
)
def test_a_bundles_graph_answers_as_the_code_its_network_was_trained_by(elsewhere: Elsewhere, tmp_path: Path) -> None:
    fit = Fit(size=elsewhere.size)
    pixels = generated(elsewhere.size, elsewhere.size)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (fit.mean, fit.std))
    theirs = telling(seeded(elsewhere.build), (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - mean) / std)
    with torch.inference_mode():
        expected = ServedNetwork(theirs, fit.mean, fit.std).eval()(torch.from_numpy(pixels)).numpy()
    path = write(elsewhere.rename(theirs.state_dict()), tmp_path / elsewhere.file)
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"class {index}\n" for index in range(expected.shape[1])))

    wishes = Wishes(bundles=tmp_path, size=elsewhere.size, mean=fit.mean, std=fit.std, labels=str(labels))
    folder = convert(path, wishes, Progress(STEPS)).path
    assert files.read(folder).manifest.architecture.name == elsewhere.name
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    answers = np.concatenate([session.run(None, {"pixels": pixels[start : start + 8]})[0] for start in range(0, 32, 8)])
    found = parity.compare(expected, answers)
    assert found.kept(), found
    assert not parity.compare(expected, np.roll(answers, 1, axis=0)).kept()  # another image's answers would show
