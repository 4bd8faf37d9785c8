"""Fused SE blocks: the same answers as the plain graph, and nothing else rewritten."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime import InferenceSession
from torch import Tensor, nn

from bundle import files, parity
from export.graphs.graph import ServedNetwork, to_onnx
from export.proving.samples import generate
from models.architectures import seresnet
from models.networks.family import Family
from models.networks.se import SEBlock
from models.networks.semobilenet import SE_MOBILENET
from models.networks.seshufflenet import SE_SHUFFLENET
from server.engines import probe_check, se_fusion
from server.engines.onnxruntime_cpu import OrtCpuEngine
from tests.support.reference_networks import distinct, seeded

SIZE = 96


class Block(nn.Module):
    """One SE block between convolutions, with what may follow its multiplication."""

    def __init__(self, channels: int, after: str) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, stride=4)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.se = SEBlock(channels, 8)
        self.next = nn.Conv2d(channels, channels, 1)
        self.fc = nn.Linear(channels, 10)
        self.after = after

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.stem(pixels)
        y = self.se(self.conv(x))
        if self.after == "sum":
            y = y + x
        if self.after == "sum and relu":
            y = (y + x).relu()
        if self.after == "relu":
            y = y.relu()
        if self.after == "two sums":
            y = (y + x).relu() + y
        if self.after == "a sum of other shape":
            y = (y + x.mean((2, 3), keepdim=True)).relu()
        return self.fc(self.next(y).relu().mean((2, 3)))


def exported(network: nn.Module, folder: Path) -> Path:
    graph = folder / "model.onnx"
    graph.write_bytes(to_onnx(ServedNetwork(network, (128.0,) * 3, (64.0,) * 3).eval(), SIZE, SIZE))
    return graph


def optimised(graph: Path) -> onnx.ModelProto:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(graph.with_name("optimised.onnx"))
    InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    model = onnx.load(options.optimized_model_filepath)
    if not any(node.domain == se_fusion.BLOCKED for node in model.graph.node):
        pytest.skip("ONNX Runtime has no blocked layout for this CPU, so there is nothing to fuse in")
    return model


def demand_same_answers(graph: Path) -> None:
    """Of the engine and of the plain graph, in all batch sizes; other photos, and they differ."""
    pixels = generate(SIZE, SIZE)
    plain = InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    expected = plain.run(None, {"pixels": pixels})[0]
    engine = OrtCpuEngine(graph, threads=2)
    answers = np.concatenate([engine.run(part) for part in (pixels[:1], pixels[1:4], pixels[4:])])
    assert parity.compare(expected, answers).passes()
    assert not parity.compare(expected, np.roll(answers, 1, 0)).passes()


@pytest.mark.parametrize(
    ("after", "gone"),
    [
        ("nothing", {"Mul"}),
        ("sum", {"Mul", "Add"}),
        ("sum and relu", {"Mul", "Add", "Relu"}),
        ("relu", {"Mul", "Relu"}),
        ("two sums", {"Mul"}),
        ("a sum of other shape", {"Mul"}),
    ],
)
def test_what_follows_a_gate_goes_with_it(after: str, gone: set[str], tmp_path: Path) -> None:
    network = seeded(lambda: Block(32, after))
    graph = exported(distinct(network, torch.from_numpy(generate(SIZE, SIZE)).permute(0, 3, 1, 2) / 64 - 2), tmp_path)
    model = optimised(graph)
    assert se_fusion.fuse(model) == 1
    assert gone.isdisjoint(node.op_type for node in model.graph.node)
    demand_same_answers(graph)


def test_channels_that_fill_no_block_are_left_alone(tmp_path: Path) -> None:
    graph = exported(seeded(lambda: Block(24, "sum and relu")), tmp_path)
    model = optimised(graph)
    before = model.SerializeToString()
    assert se_fusion.fuse(model) == 0
    assert model.SerializeToString() == before
    OrtCpuEngine(graph, threads=1).run(generate(SIZE, SIZE)[:1])


def test_a_product_of_two_tensors_is_no_gate(tmp_path: Path) -> None:
    class Product(Block):
        def forward(self, pixels: Tensor) -> Tensor:
            x = self.stem(pixels)
            return self.fc((self.conv(x) * x.mean(1, keepdim=True) * x.mean(2, keepdim=True)).mean((2, 3)))

    assert se_fusion.fuse(optimised(exported(seeded(lambda: Product(32, "")), tmp_path))) == 0


@pytest.mark.parametrize(("depth", "blocks"), [(26, 8)])
def test_every_block_of_a_resnet_is_fused_and_nothing_is_reordered_between(
    depth: int, blocks: int, tmp_path: Path
) -> None:
    network = distinct(seeded(seresnet(depth, classes=20).build), torch.zeros(2, 3, SIZE, SIZE))
    graph = exported(network, tmp_path)
    model = optimised(graph)
    assert se_fusion.fuse(model) == blocks
    kinds = [node.op_type for node in model.graph.node]
    assert "Mul" not in kinds and "ReorderInput" not in kinds
    assert kinds.count("ReorderOutput") <= 2 * blocks + 1  # of means and gates, which are small, and before the head
    demand_same_answers(graph)


@pytest.mark.parametrize("family", [SE_MOBILENET, SE_SHUFFLENET], ids=lambda family: family.name)
def test_other_networks_answer_as_their_plain_graphs(family: Family, tmp_path: Path) -> None:
    images = torch.from_numpy(generate(SIZE, SIZE)).permute(0, 3, 1, 2).float() / 64 - 2
    graph = exported(distinct(seeded(family.design(classes=20).build), images), tmp_path)
    assert se_fusion.fuse(optimised(graph)) > 0
    demand_same_answers(graph)


def test_without_room_for_the_optimised_graph_the_plain_one_is_run(
    demo: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(prefix: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("server.engines.onnxruntime_cpu.tempfile.TemporaryDirectory", full)
    bundle = files.read(demo)
    assert probe_check.check(OrtCpuEngine(bundle.graph("fp32")[1], threads=2), bundle.probe, 8).passes()
    assert "runs without fused SE blocks" in caplog.text
