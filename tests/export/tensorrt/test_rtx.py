"""NVIDIA's own parser and builder accept this project's graphs, without a GPU: see `rtx_matrix`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from bundle import files
from export import precisions
from export.graphs import scales, to_16bit
from export.proving.samples import generate
from tests.support import oracles, rtx, rtx_matrix
from trt.graphs import LEAST

KINDS = {"fp32": "FLOAT", "fp16": "HALF", "bf16": "BF16", "int8-trt": "INT8", "fp8": "FP8"}

RecordedProgress = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def plain(demo: Path) -> bytes:
    rtx.demand()
    return files.read(demo).graph("fp32")[1].read_bytes()


@pytest.fixture(scope="module")
def graphs(plain: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's graphs in all precisions."""
    folder = tmp_path_factory.mktemp("graphs")
    for precision in KINDS:
        (folder / f"{precision}.onnx").write_bytes(rtx_matrix.lower(plain, precision, 64))
    return folder


def test_the_demo_is_parsed_and_built_in_every_precision_and_way(graphs: Path) -> None:
    told = rtx.run(
        """
def made(model):
    parsed = network(model)
    ends = [(tensor.dtype.name, list(tensor.shape)) for tensor in (parsed.get_input(0), parsed.get_output(0))]
    types = {parsed.get_layer(at).get_output(0).dtype.name for at in range(parsed.num_layers)}
    return [ends, sorted(types), builder().build(model, RecordedProgress())[:4].decode()]
print(json.dumps({name: {way: made(model) for way, model in in_ways(graph(name)).items()} for name in PRECISIONS}))
""",
        graphs,
    )
    assert list(told) == list(KINDS)
    for precision, ways in told.items():
        assert list(ways) == ["native", "pooled", "outlined"]
        for ends, types, magic in ways.values():
            assert ends == [["UINT8", [-1, 64, 64, 3]], ["FLOAT", [-1, 200]]]
            assert KINDS[precision] in types
            assert magic == "vtrt"


def test_what_is_refused_for_a_gpu_is_what_the_builder_refuses_for_it(graphs: Path) -> None:
    told = rtx.run(
        """
def refusal(model, gpu):
    return why_not(lambda: builder((1,), f"SM{gpu}").build(model, RecordedProgress()))
gpus = ("75", "80", "86", "89", "120")
print(json.dumps({name: {gpu: refusal(graph(name), gpu) for gpu in gpus} for name in PRECISIONS}))
""",
        graphs,
    )
    assert "FP32 GEMM is not supported" in told["fp32"].pop("75")  # by the edition for RTX, where TensorRT has it
    for precision, refusals in told.items():
        taken = {gpu: not why for gpu, why in refusals.items()}
        assert taken == {gpu: int(gpu) / 10 >= LEAST.get(precision, 0) for gpu in taken}, refusals


QUICK = {
    "semobilenet": ("fp32", "int8-trt"),
    "torchvision:mobilenet_v3_small": ("bf16",),
    "timm:regnety_002": ("fp16",),
}
"""`python -m bench.rtx` has all networks in all precisions."""


@pytest.mark.parametrize("name", QUICK)
def test_networks_of_every_origin_are_taken_as_they_are(name: str) -> None:
    rtx.demand()
    oracles.timm()
    rows = rtx_matrix.build_network(rtx_matrix.ALL[name], 64, QUICK[name])
    assert {row["graph"].partition(" ")[0] for row in rows} == set(QUICK[name])
    assert all(row["parsed"] and row["built"] for row in rows), rows


def transposed_first(plain: bytes) -> bytes:
    """As exports made it before."""
    model = onnx.load_from_string(plain)
    cast, transpose = [NodeProto.FromString(node.SerializeToString()) for node in model.graph.node[:2]]
    transpose.input[0], cast.input[0] = "pixels", "transposed"
    cast.output[0], transpose.output[0] = transpose.output[0], "transposed"
    for node, other in zip(model.graph.node, (transpose, cast), strict=False):
        node.CopyFrom(other)
    return model.SerializeToString()


def with_a_node_that_nobody_knows(plain: bytes) -> bytes:
    model = onnx.load_from_string(plain)
    model.graph.node[-1].op_type, model.graph.node[-1].domain = "NobodysSoftmax", "nobody"
    model.opset_import.append(helper.make_opsetid("nobody", 1))
    return model.SerializeToString()


def with_weights(plain: bytes, change: Callable[[np.ndarray], np.ndarray]) -> bytes:
    """With those of one convolution changed."""
    model = onnx.load_from_string(plain)
    (weight,) = [row for row in model.graph.initializer if row.name == "network.layer2.0.conv1.weight"]
    weight.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(weight).copy()), weight.name))
    return model.SerializeToString()


def with_tiny_channel(weights: np.ndarray) -> np.ndarray:
    weights[3] *= 1e-7
    return weights


def activated(kind: str) -> bytes:
    """A convolution and an activation."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["cast"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["x"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x", "weight"], ["convolved"], "conv"),
        helper.make_node(kind, ["convolved"], ["activated"], "act"),
        helper.make_node("ReduceMean", ["activated", "axes"], ["means"], "mean", keepdims=0),
        helper.make_node("Softmax", ["means"], ["probabilities"], "softmax"),
    ]
    weights = np.linspace(-1, 1, 8 * 27, dtype=np.float32).reshape(8, 3, 3, 3)
    held = [numpy_helper.from_array(weights, "weight"), numpy_helper.from_array(np.array([2, 3]), "axes")]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 16, 16, 3])
    rows = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 8])
    graph = helper.make_graph(nodes, "activated", [pixels], [rows], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


@pytest.fixture(scope="module")
def planted(plain: bytes, tmp_path_factory: pytest.TempPathFactory) -> RecordedProgress:
    """What became of graphs with something in them that NVIDIA refuses, as they are and as the export mends them."""
    made = {
        "transposed first": transposed_first(plain),
        "unknown": with_a_node_that_nobody_knows(plain),
        "mixed": with_weights(plain, lambda weights: weights.astype(np.float16)),
    }
    tiny = with_weights(plain, with_tiny_channel)
    quantised = {
        kind: precisions.to_eight_bit(kind, tiny, generate(64, 64)[:4], lambda done, total: None)
        for kind in precisions.EIGHT_BIT
    }
    with pytest.MonkeyPatch.context() as unmended:
        for mended in (True, False):
            for kind in ("HardSwish", "Mish"):
                made[f"{kind} {mended}"] = to_16bit.to_16_bit(activated(kind), "bf16")
            for kind, graph in quantised.items():
                made[f"{kind} {mended}"] = to_16bit.to_16_bit(graph, "fp16")
            unmended.setattr(to_16bit, "_DECOMPOSED", {})
            unmended.setattr(scales, "round_to_fp16", lambda graph: None)
    folder = tmp_path_factory.mktemp("planted")
    for name, graph in made.items():
        (folder / f"{name}.onnx").write_bytes(graph)
    return {row["graph"]: row for row in rtx_matrix.build_all(folder)}


def test_pixels_that_are_transposed_before_they_are_cast_are_refused_with_the_cure(planted: RecordedProgress) -> None:
    told = planted["transposed first"]["why"]
    assert "Transpose 'Transpose'" in told
    assert "Export the bundle again" in told


def test_a_node_that_nobody_knows_is_named(planted: RecordedProgress) -> None:
    told = planted["unknown"]["why"]
    assert "NobodysSoftmax 'Softmax'" in told
    assert told.endswith("the server's other engines can run this bundle.")


def test_types_are_not_mixed(planted: RecordedProgress) -> None:
    told = planted["mixed"]["why"]
    assert "layer2.0.bn1/Conv" in told and "must be of same type" in told


def test_refusals_are_of_one_line(planted: RecordedProgress) -> None:
    assert [name for name, row in planted.items() if "\n" in row["why"]] == []


@pytest.mark.parametrize("kind", ["HardSwish", "Mish"])
def test_activations_that_nvidia_does_not_take_in_bfloat16_are_spelt_out(kind: str, planted: RecordedProgress) -> None:
    assert planted[f"{kind} True"]["built"]
    assert f"input is supported for the {kind} operator" in planted[f"{kind} False"]["why"]


@pytest.mark.parametrize("precision", ["int8-trt", "fp8"])
def test_a_channel_of_tiny_weights_has_a_scale_that_nvidia_takes(precision: str, planted: RecordedProgress) -> None:
    assert planted[f"{precision} True"]["built"]
    assert "Scale coefficients must all be positive" in planted[f"{precision} False"]["why"]


def test_functions_are_given_to_plugins_by_their_namespace_and_inlined_without(graphs: Path) -> None:
    asked, why, inlined, bare, later = rtx.run(
        """
import onnx
seen = []
class Creator(tensorrt.IPluginCreatorV3One):
    def __init__(self, name):
        tensorrt.IPluginCreatorV3One.__init__(self)
        self.name, self.plugin_version, self.plugin_namespace = name, "1", "sesame"
        self.field_names = tensorrt.PluginFieldCollection([])
    def create_plugin(self, name, fields, phase):
        seen.append((self.name, name, phase.name))
creators = [Creator(name) for name in ("SEGate", "SEScaleAddRelu")]
outlined = in_ways(graph("fp32"))["outlined"]
inlined = network(outlined).num_layers
assert all(tensorrt.get_plugin_registry().register_creator(creator, "sesame") for creator in creators)
why = why_not(lambda: network(outlined))
bare = onnx.load_from_string(outlined)
for node in bare.graph.node:
    if node.domain == "sesame": del node.attribute[:]
asked = list(seen)
print(json.dumps([asked, why, inlined, network(bare.SerializeToString()).num_layers, len(seen)]))
""",
        graphs,
    )
    assert asked == [["SEGate", "layer1.0/se/SEGate", "BUILD"]]  # which makes none here, so the parser stops
    assert "Could not create the plugin" in why
    assert (bare, later) == (inlined, 1)


def test_ctrl_c_ends_a_build_at_its_next_step(graphs: Path) -> None:
    bar, why, threads = rtx.run(
        """
import os, signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
progress = RecordedProgress(lambda: len(progress.told) == 3 and os.kill(os.getpid(), signal.SIGINT))
try: builder((1, 2, 4, 8, 16, 32)).build(graph("fp32"), progress)
except KeyboardInterrupt: print(json.dumps([progress.told, messages().last_errors(), threading.active_count()]))
""",
        graphs,
    )
    assert len(bar) >= 3 and bar[-1][0] < 1000
    assert "BuildCanceled" in why
    assert threads == 1


def test_progress_moves_with_the_batch_sizes_and_reaches_its_end(graphs: Path) -> None:
    bar, ends = rtx.run(
        """
from export.tensorrt import build
ends = []  # how far the bar was when TensorRT was done with a batch size
class Seen(build.BuildMonitor):
    def phase_finish(self, name):
        super().phase_finish(name)
        if name == "Determining refit engines": ends.append(progress.told[-1][0])
vars(build)["BuildMonitor"] = Seen
progress = RecordedProgress()
builder((1, 2, 4, 8)).build(graph("fp32"), progress)
print(json.dumps([progress.told, ends]))
""",
        graphs,
    )
    done = [at for at, _ in bar]
    assert done == sorted(set(done)) and bar[-1] == [1000, 1000]
    assert len(ends) == 4
    for size, at in enumerate(ends):  # each has a quarter of what is left after the first 5 %
        assert 50 + 237 * size < at <= 50 + 238 * (size + 1), ends


def test_too_little_workspace_is_told_with_the_option_that_gives_more(graphs: Path) -> None:
    told = rtx.run(
        """
few = builder((32,), workspace_bytes=1 << 20)
print(json.dumps(why_not(lambda: few.build(graph("fp32"), RecordedProgress()))))
""",
        graphs,
    )
    assert "workspace" in told and "Give more with --workspace-mib" in told and "\n" not in told


def test_the_report_on_layers_is_of_one_batch_size_and_knows_se(graphs: Path) -> None:
    """Over the rows that the builder tells: the inspector's own JSON needs a GPU."""
    one, three, *reports = rtx.run(
        """
from types import SimpleNamespace
from export.tensorrt.layers import inspect_layers
def report(rows):
    inspector = SimpleNamespace(get_engine_information=lambda kind: json.dumps({"Layers": rows}))
    found = inspect_layers(SimpleNamespace(create_engine_inspector=lambda: inspector), blocks)
    return [found.count, found.reformats, list(found.se)]
half = graph("fp16")
one, three, average = rows(half, (1,)), rows(half, (1, 2, 4)), rows(in_ways(half)["pooled"], (1,))
waiting = [{"Name": "signal_0", "LayerType": "signal"}, {"Name": "wait_0", "LayerType": "wait"}]
print(json.dumps([len(one), len(three), *map(report, (one, three, one + waiting, average))]))
""",
        graphs,
    )
    assert three > 2 * one
    assert reports[0] == reports[1] == reports[2]
    count, copies, se = reports[0]
    assert count == one
    assert len(se) == 8 * 4  # mean, two convolutions, and the scale with what follows it
    assert copies > 0
    (fused,) = [row for row in se if "layer1.1/se/Mul" in row]
    assert "layer1.1/Add" in fused and "layer1.1/Relu_2" in fused  # scale, sum and ReLU are one kernel
    assert reports[3][1] == 0  # average pools read maps as they lie
