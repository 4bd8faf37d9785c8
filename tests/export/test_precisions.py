"""INT8 is written where it is proven, and refused, with the layers to blame, where it costs too much.

What the tests need of a CPU: that of BF16 its instructions (else it skips), all others nothing. INT8 graphs have
weights of 7 bits, whose sums overflow on no CPU: tests/export/test_overflow.py proves it, and shows the same answers
with and without VNNI. Graphs for GPUs are judged in float32.
"""

import dataclasses
from collections import defaultdict
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from bundle import files, parity
from bundle.files import Bundle
from export import commands, precisions
from export.errors import ExportError
from export.graphs import fp8, graph, int8, to_16bit
from export.graphs.graph import ServedNetwork, to_onnx
from export.progress import Progress
from export.proving import accuracy_gate, labelled, layer_errors, reference_runs, samples
from export.proving.accuracy_gate import GatePhotos
from models.networks.family import Family
from models.networks.sebninception import SE_BN_INCEPTION
from models.networks.semobilenet import SE_MOBILENET
from tests.support import exported, oracles
from tests.support.reference_networks import seeded
from tests.support.trained import weights


def silent(done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def bundle(demo: Path) -> Bundle:
    return files.read(demo)


@pytest.fixture(scope="module")
def model(bundle: Bundle) -> bytes:
    return bundle.graph("fp32")[1].read_bytes()


@pytest.fixture(scope="module")
def photos(shared: Path, bundle: Bundle) -> GatePhotos:
    folder = shared / "tiny-imagenet"
    preprocessing = bundle.manifest.preprocessing
    paths = samples.find_photos(folder / "val")[::2]
    calibration = [samples.load_picture(path, preprocessing) for path in samples.find_photos(folder / "train")[::16]]
    truth = labelled.class_indices(paths, folder / "val", bundle.labels)
    return GatePhotos(
        np.stack(calibration), np.stack([samples.load_picture(path, preprocessing) for path in paths]), truth
    )


@pytest.fixture(scope="module")
def reference(model: bytes, photos: GatePhotos) -> np.ndarray:
    return reference_runs.onnx_probabilities(model, photos.judged, silent)


def every(step: int, photos: GatePhotos) -> GatePhotos:
    """The same photos with only every `step`-th of the judged ones."""
    return dataclasses.replace(photos, judged=photos.judged[::step], truth=photos.truth[::step])  # type: ignore[index]


def test_se_blocks_stay_in_float_and_convolutions_do_not(bundle: Bundle, model: bytes) -> None:
    quantised = onnx.load_from_string(int8.to_int8(model, bundle.probe.pixels, silent))
    made = {name: node for node in quantised.graph.node for name in node.output}
    convolutions = [node for node in quantised.graph.node if node.op_type == "Conv"]
    assert {"/se/" in node.name for node in convolutions} == {True, False}
    for node in convolutions:
        weight = made.get(node.input[1])
        assert (weight is not None and weight.op_type == "DequantizeLinear") == ("/se/" not in node.name)
    scales = {tensor.name: tensor for tensor in quantised.graph.initializer}
    weight = made[convolutions[0].input[1]]
    assert list(scales[weight.input[1]].dims) == [64]  # one scale for each output channel


def test_equal_photos_give_equal_bytes(bundle: Bundle, model: bytes) -> None:
    assert int8.to_int8(model, bundle.probe.pixels[:8], silent) == int8.to_int8(model, bundle.probe.pixels[:8], silent)


def test_the_demo_in_int8_passes_with_its_figures(model: bytes, photos: GatePhotos, reference: np.ndarray) -> None:
    (outcome,) = precisions.add_precisions(("fp32", "int8"), model, photos, reference, Progress())
    assert isinstance(outcome, precisions.AddedPrecision), getattr(outcome, "report", "")
    assert (outcome.file, outcome.precision) == ("model.int8.onnx", "int8")
    row = outcome.rows[0]
    assert (row.engine, row.images, row.labelled) == ("onnxruntime-cpu", 1000, 1000)
    assert row.sure_agreement is not None
    assert row.sure_agreement >= 0.98
    assert row.loss_low is not None
    assert row.loss_high is not None
    assert row.loss_low < row.loss_high


def test_a_planted_bad_calibration_is_refused_with_the_layers_to_blame(
    model: bytes, photos: GatePhotos, reference: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = int8.to_int8
    monkeypatch.setattr(int8, "to_int8", lambda model, pixels, advance: honest(model, pixels, advance, percentile=60))
    (outcome,) = precisions.add_precisions(("fp32", "int8"), model, photos, reference, Progress())
    assert isinstance(outcome, precisions.RefusedPrecision)
    assert "at least 98% required" in outcome.report
    assert "95 % interval" in outcome.report
    assert "dB" in outcome.report


def test_graphs_for_gpus_pass_with_their_figures(model: bytes, photos: GatePhotos, reference: np.ndarray) -> None:
    some = every(4, photos)  # they are computed slowly here
    outcomes = list(precisions.add_precisions(("fp16", "int8-trt", "fp8"), model, some, reference[::4], Progress()))
    made = {outcome.file: outcome for outcome in outcomes if isinstance(outcome, precisions.AddedPrecision)}
    assert list(made) == ["model.fp16.onnx", "model.int8-trt.onnx", "model.fp8.onnx"]
    for outcome in made.values():
        (row,) = outcome.rows
        assert (row.engine, row.precision, row.images) == ("onnxruntime-cpu", outcome.precision, 250)
        assert 0 < row.max_dp < 0.5


def test_bfloat16_is_a_graph_for_gpus_and_a_way_to_run_the_fp32_graph(
    model: bytes, photos: GatePhotos, reference: np.ndarray
) -> None:
    if not reference_runs.openvino_supports("bf16"):
        pytest.skip("needs OpenVINO and a CPU with bfloat16: nothing else runs such convolutions here")
    outcomes = list(precisions.add_precisions(("bf16",), model, photos, reference, Progress()))
    assert [(outcome.file, outcome.opset, outcome.model is None) for outcome in outcomes] == [  # type: ignore[union-attr]
        ("model.onnx", 20, True),
        ("model.bf16.onnx", 22, False),
    ]


def test_tensorrt_gets_int8_around_zero_float_biases_and_nothing_quantised_around_se(
    bundle: Bundle, model: bytes
) -> None:
    quantised = onnx.load_from_string(int8.to_int8(model, bundle.probe.pixels, silent, int8.FOR_TENSORRT))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    users = defaultdict(list)
    for node in quantised.graph.node:
        for name in node.input:
            users[name].append(node)
    restored = [node for node in quantised.graph.node if node.op_type == "DequantizeLinear"]
    assert restored
    for node in restored:
        zero = constants[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
        assert not any("/se/" in user.name for user in users[node.output[0]])
    scaled = {name for node in quantised.graph.node if "/se/" in node.name for name in node.output}
    assert scaled.isdisjoint(node.input[0] for node in quantised.graph.node if node.op_type == "QuantizeLinear")
    convolutions = [node for node in quantised.graph.node if node.op_type == "Conv" and "/se/" not in node.name]
    assert all(constants[node.input[2]].dtype == np.float32 for node in convolutions if len(node.input) > 2)


@pytest.mark.parametrize(("precision", "kind"), [("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)])
def test_16_bit_is_what_lies_between_normalisation_and_softmax(model: bytes, precision: str, kind: int) -> None:
    narrowed = onnx.load_from_string(to_16bit.to_16_bit(model, precision))
    weights = {tensor.name: tensor.data_type for tensor in narrowed.graph.initializer}
    assert {weights.pop("mean"), weights.pop("std")} == {TensorProto.FLOAT}
    assert set(weights.values()) - {TensorProto.INT64} == {kind}
    inferred = onnx.shape_inference.infer_shapes(narrowed)
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    for node in narrowed.graph.node:
        if node.op_type in ("Conv", "Relu", "Add", "Mul", "Gemm", "Sigmoid"):
            assert types[node.output[0]] == kind
    assert to_16bit.to_16_bit(model, precision) == to_16bit.to_16_bit(model, precision)


def test_a_weight_that_fp16_cannot_hold_is_told(model: bytes) -> None:
    loud = onnx.load_from_string(model)
    tensor = next(tensor for tensor in loud.graph.initializer if tensor.name.endswith("conv1.weight"))
    values = numpy_helper.to_array(tensor) * np.float32(1e7)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    with pytest.raises(ExportError, match=f"{tensor.name} are too large for fp16: use bf16"):
        to_16bit.to_16_bit(loud.SerializeToString(), "fp16")


def test_the_worst_layer_is_the_one_that_was_spoilt(bundle: Bundle, model: bytes) -> None:
    plain = onnx.load_from_string(model)
    quantised = onnx.load_from_string(int8.to_int8(model, bundle.probe.pixels, silent))
    spoilt = next(
        node for node in quantised.graph.node if node.op_type == "QuantizeLinear" and "layer2" in producer(plain, node)
    )
    scale = next(tensor for tensor in quantised.graph.initializer if tensor.name == spoilt.input[1])
    values = onnx.numpy_helper.to_array(scale) * 30
    scale.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), scale.name))
    found = layer_errors.measure(model, quantised.SerializeToString(), bundle.probe.pixels)
    assert found[0].node == producer(plain, spoilt)
    assert found[0].own_db < found[1].own_db - 3


def producer(model: onnx.ModelProto, node: onnx.NodeProto) -> str:
    return next((other.name for other in model.graph.node if node.input[0] in other.output), "")


def test_photos_to_judge_on_are_none_of_those_to_calibrate_on(shared: Path, bundle: Bundle) -> None:
    folder = shared / "tiny-imagenet" / "val"
    both = accuracy_gate.load_photos(folder, None, bundle.labels, bundle.manifest.preprocessing)
    assert (len(both.calibration), len(both.judged)) == (128, 1000)
    assert both.truth is not None
    with pytest.raises(ExportError, match="0 others to judge on"):
        accuracy_gate.load_photos(folder, folder, bundle.labels, bundle.manifest.preprocessing)


def test_int8_needs_photos(tmp_path: Path, shared: Path) -> None:
    checkpoint = shared / "weights" / "seresnet18_tiny.pth"
    with pytest.raises(ExportError, match="--calibrate DIR"):
        commands.run([*told(checkpoint, tmp_path), "--precision", "int8"])


def told(checkpoint: Path, bundles: Path) -> list[str]:
    labels = "models/recipes/tiny-imagenet-200.txt"
    options = f"--name demo --stem 3x3s2 --size 64 --resize-to 64 --interpolation bilinear --labels {labels}"
    return ["convert", str(checkpoint), "--model-repository", str(bundles), *options.split()]


def test_convert_writes_both_graphs_and_their_table(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy_gate, "_MOST_IMAGES", 1000)
    monkeypatch.setattr(graph, "to_onnx", exported.to_onnx)  # test_convert.py exports it too
    folder = shared / "tiny-imagenet"
    photos = ["--calibrate", str(folder / "train"), "--judge", str(folder / "val")]
    asked = [*told(shared / "weights" / "seresnet18_tiny.pth", tmp_path), "--precision", "fp32,int8", *photos]
    assert commands.run(asked) == 0
    written = files.read(tmp_path / "demo" / "1")
    assert [graph.file for graph in written.manifest.graphs] == ["model.onnx", "model.int8.onnx"]
    assert [graph.largest_weight for graph in written.manifest.graphs] == [None, 64]
    rows = {(row.engine, row.precision): row for row in written.manifest.parity}
    assert {("onnxruntime-cpu", "fp32"), ("onnxruntime-cpu", "int8")} <= set(rows)
    card = (written.path / "CARD.md").read_text()
    assert "int8 in onnxruntime-cpu" in card
    again = reference_runs.onnx_probabilities(written.graph("int8")[1].read_bytes(), written.probe.pixels, silent)
    assert parity.compare(written.probe.probabilities, again).passes("int8")


def test_a_real_cifar_network_passes_in_int8(tmp_path: Path, shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = weights(shared, "se_resnet20_cifar10_moskomule_r8.pth")
    asked = ["convert", str(checkpoint), "--model-repository", str(tmp_path), "--labels", "cifar-10"]
    assert commands.run([*asked, "--precision", "fp32,int8,int8-trt", "--calibrate", str(shared / "cifar10")]) == 0
    graphs = files.read(tmp_path / "seresnet20" / "1").manifest.graphs
    assert [graph.precision for graph in graphs] == ["fp32", "int8", "int8-trt"]


def test_a_real_mobilenet_is_refused_in_int8_with_its_layers_and_written_in_fp32(
    tmp_path: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    oracles.timm()
    checkpoint = weights(shared, "mobilenetv3_small_tfhub_int8perchannel_dequant.pth")
    asked = ["convert", str(checkpoint), "--model-repository", str(tmp_path), "--arch", "timm:tf_mobilenetv3_small_100"]
    photos = ["--calibrate", str(shared / "tiny-imagenet" / "train"), "--judge", str(shared / "photos")]
    assert commands.run([*asked, "--precision", "fp32,int8", *photos]) == 1
    told = capsys.readouterr().err
    assert "int8 (model.int8.onnx) was not written. It loses too much" in told
    assert "dB" in told
    graphs = files.read(tmp_path / "tf_mobilenetv3_small_100" / "1").manifest.graphs
    assert [graph.precision for graph in graphs] == ["fp32"]


def test_a_folder_spelled_otherwise_is_the_same_folder(shared: Path, bundle: Bundle) -> None:
    folder = shared / "tiny-imagenet" / "val"
    with pytest.raises(ExportError, match="0 others to judge on"):
        accuracy_gate.load_photos(
            folder, folder.parent / "train" / ".." / "val", bundle.labels, bundle.manifest.preprocessing
        )


def test_without_labels_enough_sure_images_are_required(photos: GatePhotos, reference: np.ndarray) -> None:
    unsure = np.full_like(reference, 1 / reference.shape[1])
    unlabelled = GatePhotos(photos.calibration, photos.judged, None)
    verdict = accuracy_gate.evaluate("model.int8.onnx", "onnxruntime-cpu", "int8", unlabelled, unsure, unsure)
    assert not verdict.passed
    assert "at least 50 sure images are required" in verdict.sentence()
    assert accuracy_gate.evaluate("model.int8.onnx", "onnxruntime-cpu", "int8", unlabelled, reference, reference).passed


def test_an_activation_that_overflows_in_fp16_is_seen_though_this_machine_computes_in_fp32(
    bundle: Bundle, model: bytes
) -> None:
    loud = onnx.load_from_string(model)
    weights = {tensor.name: tensor for tensor in loud.graph.initializer}
    first, second = (node for node in loud.graph.node if node.name in ("layer2.0.bn1/Conv", "layer2.0.bn2/Conv"))
    by = 6e4 / max(np.abs(numpy_helper.to_array(weights[name])).max() for name in first.input[1:])
    for names, times in ((first.input[1:], by), (second.input[1:2], 1 / by)):  # up and down again: the same function
        for name in names:
            scaled = numpy_helper.to_array(weights[name]) * np.float32(times)
            weights[name].CopyFrom(numpy_helper.from_array(scaled, name))
    same = loud.SerializeToString()
    pixels, expected = bundle.probe.pixels, bundle.probe.probabilities
    assert parity.compare(expected, reference_runs.onnx_probabilities(same, pixels, silent)).passes()
    narrowed = to_16bit.to_16_bit(same, "fp16")
    assert parity.compare(expected, reference_runs.onnx_probabilities(narrowed, pixels, silent)).passes(
        "fp16"
    )  # computed in fp32
    assert not parity.compare(
        expected, reference_runs.onnx_probabilities(to_16bit.emulate(narrowed), pixels, silent)
    ).passes("fp16")
    sound = to_16bit.emulate(to_16bit.to_16_bit(model, "fp16"))
    assert parity.compare(expected, reference_runs.onnx_probabilities(sound, pixels, silent)).passes("fp16")


def test_a_precision_that_cannot_be_made_is_refused_alone(
    model: bytes, photos: GatePhotos, reference: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(model: bytes, precision: str) -> bytes:
        raise ExportError("The weights are too large for fp16: use bf16.")

    monkeypatch.setattr(to_16bit, "to_16_bit", too_large)
    first, second = precisions.add_precisions(("fp16", "int8"), model, photos, reference, Progress())
    assert isinstance(first, precisions.RefusedPrecision)
    assert "too large" in first.report
    assert isinstance(second, precisions.AddedPrecision)


@pytest.mark.parametrize(
    ("family", "rules"),
    [(SE_MOBILENET, int8.FOR_CPUS), (SE_BN_INCEPTION, int8.FOR_TENSORRT)],
    ids=["semobilenet for cpus", "sebninception for tensorrt"],
)
def test_weights_are_quantised_only_where_their_input_is_and_neither_depthwise_ones_nor_logits(
    family: Family, rules: int8.Rules
) -> None:
    size = 64
    served = ServedNetwork(seeded(family.design(classes=5).build), (128.0,) * 3, (64.0,) * 3).eval()
    model = to_onnx(served, size, size)
    quantised = onnx.load_from_string(int8.to_int8(model, samples.generate(size, size)[:4], silent, rules))
    made = {name: node.op_type for node in quantised.graph.node for name in node.output}
    widths = {tensor.name: tensor.dims[1] for tensor in quantised.graph.initializer if len(tensor.dims) == 4}
    kinds = set()
    for node in quantised.graph.node:
        if node.op_type != "Conv":
            continue
        restored = [made.get(name) == "DequantizeLinear" for name in node.input[:2]]
        assert restored[0] or not restored[1], node.name
        if any(item.name == "group" and item.i > 1 for item in node.attribute) and widths.get(node.input[1]) == 1:
            assert not restored[1], node.name
        kinds.add(restored[1])
    assert kinds == {True, False}
    softmax = next(node for node in quantised.graph.node if node.op_type == "Softmax")
    assert made[softmax.input[0]] != "DequantizeLinear"


def test_float8_has_the_ranges_of_int8_and_each_weight_rounded_once(bundle: Bundle, model: bytes) -> None:
    around_zero = int8.to_int8(model, bundle.probe.pixels, silent, int8.FOR_TENSORRT)
    plain, whole, floating = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(graph).graph.initializer}
        for graph in (model, around_zero, fp8.to_fp8(around_zero, model))
    )
    scales = [name for name in whole if name.endswith("_scale")]
    assert len(scales) > 40
    for name in scales:
        assert floating[name] * 448 == pytest.approx(whole[name] * 127, rel=1e-6)
    weight, scale = (floating[f"network.layer1.0.conv1.weight_{what}"] for what in ("quantized", "scale"))
    assert weight.dtype == ml_dtypes.float8_e4m3fn
    exact = plain["network.layer1.0.conv1.weight"]
    steps = scale[:, None, None, None]
    error = np.abs(weight.astype(np.float32) * steps - exact)
    assert (error <= np.abs(exact) / 16 + steps / 1024 + 1e-7).all()  # three bits of fraction, and below 2⁻⁶ none
    assert error.max() > 0


def test_a_float8_graph_that_loses_too_much_is_refused_with_the_layers_to_blame(
    model: bytes, photos: GatePhotos, reference: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fp8, "_STRETCH", np.float32(0.02))  # ranges are cut to a fourteenth
    (outcome,) = precisions.add_precisions(("fp8",), model, every(8, photos), reference[::8], Progress())
    assert isinstance(outcome, precisions.RefusedPrecision)
    assert "fp8 in onnxruntime-cpu: same best class for" in outcome.report
    assert "dB" in outcome.report
