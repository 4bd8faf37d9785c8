"""Networks of other projects through the whole conversion: the bundle's graph against the networks' own answers."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from bundle import files, parity
from export.convert import STEPS, convert
from export.graphs.graph import ServedNetwork
from export.options import ConvertOptions
from export.progress import Progress
from export.proving.samples import generate
from models.evaluation import EvaluationTransform
from tests.models.test_oracle import write
from tests.support.reference_networks import NETWORKS, ReferenceNetwork, distinct, seeded

FEW = ("legacy:seresnet26:B", "paddle-vd:seresnet18d:A", "pytorchcv-cifar:seresnet20:A")
"""Small networks that differ in pooling, stride, stem and shortcut; the others take minutes and gigabytes."""


@pytest.mark.parametrize(
    "reference", [pytest.param(case, id=case.id, marks=() if case.id in FEW else pytest.mark.slow) for case in NETWORKS]
)
def test_a_bundles_graph_answers_as_the_reference_network(reference: ReferenceNetwork, tmp_path: Path) -> None:
    transform = EvaluationTransform(size=reference.size)
    pixels = generate(reference.size, reference.size)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (transform.mean, transform.std))
    theirs = distinct(seeded(reference.build), (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - mean) / std)
    with torch.inference_mode():
        expected = ServedNetwork(theirs, transform.mean, transform.std).eval()(torch.from_numpy(pixels)).numpy()
    path = write(reference.rename(theirs.state_dict()), tmp_path / reference.file)
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"class {index}\n" for index in range(expected.shape[1])))

    options = ConvertOptions(
        model_repository=tmp_path, size=reference.size, mean=transform.mean, std=transform.std, labels=str(labels)
    )
    folder = convert(path, options, Progress(STEPS)).path
    assert files.read(folder).manifest.architecture.name == reference.name
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    answers = np.concatenate([session.run(None, {"pixels": pixels[start : start + 8]})[0] for start in range(0, 32, 8)])
    found = parity.compare(expected, answers)
    assert found.passes(), found
    assert not parity.compare(expected, np.roll(answers, 1, axis=0)).passes()  # another image's answers would show
