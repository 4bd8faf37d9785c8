"""Plans on a GPU with the real TensorRT (`make test-gpu`): everything that the fakes cannot prove."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle import files
from bundle.files import Bundle
from export import precisions
from export.graphs import to_16bit
from tests.conftest import REPOSITORY
from tests.support.fakes import with_graphs

pytestmark = pytest.mark.tensorrt

LOWER = ("fp16", "bf16", "int8-trt", "fp8")
NAMES = {"int8-trt": "int8"}


@pytest.fixture(scope="module")
def bundle(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The demo with a graph in every precision for TensorRT. Other tests measure what these cost."""
    pytest.importorskip("tensorrt")
    plain = files.read(demo)
    model = plain.graph("fp32")[1].read_bytes()
    made = {precision: to_16bit.to_16_bit(model, precision) for precision in ("fp16", "bf16")}
    for precision in precisions.EIGHT_BIT:
        quantised = precisions.to_eight_bit(precision, model, plain.probe.pixels, lambda done, total: None)
        made[precision] = to_16bit.to_16_bit(quantised, "fp16")
    return files.read(with_graphs(tmp_path_factory.mktemp("bundles"), plain, made))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def built(bundle: Bundle, cache: Path, precision: str, way: str) -> dict[str, Any]:
    """Build by the command in a new process, and return the sidecar."""
    options = ["--precision", NAMES.get(precision, precision), "--se", way, "--max-batch", "8", "--json"]
    command = [sys.executable, "-m", "export", "build-engine", str(bundle.path), "--cache-dir", str(cache), *options]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=900, check=False)
    if "does not support this precision" in ended.stderr:
        pytest.skip(ended.stderr.strip())
    assert ended.returncode == 0, ended.stderr
    (known,) = json.loads(ended.stdout)
    return dict(known)


@pytest.mark.parametrize("way", ["native", "pooled", "plugin"])
@pytest.mark.parametrize("precision", ["fp32", *LOWER])
def test_every_precision_is_built_in_every_way_and_keeps_the_probe(
    bundle: Bundle, cache: Path, precision: str, way: str
) -> None:
    known = built(bundle, cache, precision, way)
    assert known["se"] == way
    assert known["batch_sizes"] == [1, 2, 4, 8]
    assert known["parity"]["sure_agreement"] >= 0.9
    named = [name for name in known["layers"]["se"] if "SEScaleAddRelu" in name or "SEGate" in name]
    assert bool(named) == (way == "plugin")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_no_tensor_is_copied_into_another_layout_for_the_kernels(bundle: Bundle, cache: Path, precision: str) -> None:
    native, plugin = (built(bundle, cache, precision, way)["layers"]["reformats"] for way in ("native", "plugin"))
    assert plugin <= native
    assert plugin <= 2  # at the pixels and at the logits


def test_a_plan_answers_in_overlapping_batches_of_every_size_and_holds_its_memory(bundle: Bundle, cache: Path) -> None:
    """A change of a context's shape would leak the modules of plugins (NVIDIA/TensorRT #4849)."""
    from cuda.bindings import driver

    from trt.runner import Runner
    from trt.store import Store

    plan = Store(cache).get(built(bundle, cache, "fp32", "plugin")["key"])
    assert plan
    runner = Runner(plan.read(), 0)
    pixels, expected = bundle.probe.pixels, bundle.probe.probabilities

    def some(rounds: int) -> None:
        for at in range(rounds):
            first, second = at % 20, at % 7 + 20
            rows = [runner.start(pixels[first : first + 3]), runner.start(pixels[second : second + 5])]
            assert np.abs(rows[1]() - expected[second : second + 5]).max() < 1e-4
            assert np.abs(rows[0]() - expected[first : first + 3]).max() < 1e-4

    some(200)
    _, free, _ = driver.cuMemGetInfo()
    some(3000)
    _, free_later, _ = driver.cuMemGetInfo()
    assert free - free_later < 8 << 20


def test_a_graph_that_tensorrt_does_not_take_is_told_by_its_node(bundle: Bundle) -> None:
    import onnx
    import tensorrt
    from onnx import helper

    from export.errors import ExportError
    from export.tensorrt.network import parse
    from trt.messages import Messages

    model = onnx.load_from_string(bundle.graph("fp32")[1].read_bytes())
    model.graph.node[-1].op_type, model.graph.node[-1].domain = "NobodysSoftmax", "nobody"
    model.opset_import.append(helper.make_opsetid("nobody", 1))
    messages = Messages()
    with pytest.raises(ExportError, match="NobodysSoftmax"):
        parse(tensorrt.Builder(messages), model.SerializeToString(), messages)


def test_rubbish_is_no_plan(bundle: Bundle) -> None:
    from trt.errors import PlanError
    from trt.runner import Runner

    with pytest.raises(PlanError, match="cannot load the plan"):
        Runner(b"ftrt" + bytes(1000), 0)
