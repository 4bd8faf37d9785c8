"""SE's plugins in NVIDIA's own Python code, from registration to the PTX for the builder."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import bindings

BATCH, CHANNELS, ODD, PIXELS = 6, 48, 12, 35
NAMES = ("SEGate", "SEScale", "SEScaleAddRelu")
MAPS = {"SEGate": {0}, "SEScale": {0, 2}, "SEScaleAddRelu": {0, 2, 3}}
"""The positions of maps among inputs and output; the others are gates and weights."""

_REGISTERED = """
import json, sys
from export.tensorrt import plugins
from tests.export.tensorrt import builder
plugins.register((9, 0))
plugins.register((9, 0))
"""


def shapes(name: str, channels: int) -> list[tuple[int, ...]]:
    map_, gate = (-1, channels, 7, 5), (-1, channels, 1, 1)
    if name == "SEGate":
        return [map_, (3, channels, 1, 1), (3,), (channels, 3, 1, 1), (channels,)]
    return [map_, gate] if name == "SEScale" else [map_, gate, map_]


@pytest.fixture(scope="module", params=bindings.MAJORS)
def rows(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """Everything that the plugins offer for maps of 48 and of 12 channels, in the bindings of each version."""
    wanted = {(name, channels): shapes(name, channels) for name in NAMES for channels in (CHANNELS, ODD)}
    script = f"""{bindings.WITH_REGISTRY}{_REGISTERED}
rows = []
for (name, channels), shapes in {wanted}.items():
    for precision in builder.TYPES:
        told = dict(plugin=name, channels=channels, precision=precision)
        creator = registry.creators[name, "1", "sesame"]
        rows += [told | row for row in builder.asked(creator, shapes, {BATCH}, precision)]
print(json.dumps(rows))
"""
    found: list[dict[str, Any]] = bindings.answer(bindings.python(request.param)(script))
    return found


def test_every_plugin_is_offered_in_every_precision_layout_and_tactic(rows: list[dict[str, Any]]) -> None:
    offered = {(row["plugin"], row["channels"], row["precision"], row["formats"][0], row["tactic"]) for row in rows}
    assert len(offered) == len(rows)
    layouts = [("fp32", "LINEAR"), *((p, layout) for p in ("fp16", "bf16") for layout in ("LINEAR", "HWC8"))]
    assert offered == {
        (name, channels, precision, layout, tactic)
        for name in NAMES
        for channels in (CHANNELS, ODD)
        for precision, layout in layouts
        for tactic in (1, 2)
        if channels % 8 == 0 or layout == "LINEAR"  # HWC8 pads channels to eights
    }


def test_all_maps_lie_alike_and_all_tensors_have_one_type(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        maps = MAPS[row["plugin"]]
        layouts = dict(enumerate(row["formats"]))
        assert {layouts[at] for at in layouts if at not in maps} == {"LINEAR"}
        assert len({layouts[at] for at in maps}) == 1
        assert set(row["types"]) == {{"fp32": "FLOAT", "fp16": "HALF", "bf16": "BF16"}[row["precision"]]}


def test_outputs_are_maps_and_gates(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        size = [1, 1] if row["plugin"] == "SEGate" else [7, 5]
        assert row["output"] == [BATCH, row["channels"], *size]


def test_each_launch_covers_its_map_and_passes_what_the_kernel_takes(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        launch = row["launch"]
        gate = row["plugin"] == "SEGate"
        elements = BATCH * row["channels"] * PIXELS
        block = {1: 1024, 2: 2048}[row["tactic"]]
        assert launch["grid_x"] == (BATCH if gate else -(-elements // block))
        assert (launch["grid_y"], launch["grid_z"], launch["block_y"], launch["block_z"]) == (1, 1, 1, 1)
        assert row["extras"] == ([] if gate else [["ShapeExpr", BATCH]])
        (told,) = re.findall(rf"\.visible \.entry {row['name']}\((.*?)\n\)", row["ptx"], re.DOTALL)
        inputs = len(row["types"]) - 1
        kinds = [line.split()[1] for line in told.strip().split(",\n")]
        assert kinds == [".u64"] * inputs + [".u32"] * len(row["extras"]) + [".u64"]
        (threads,) = re.findall(r"\.reqntid (\d+)", row["ptx"])
        assert launch["block_x"] == int(threads)
        assert (launch["shared_mem"] > 0) == gate


def test_layouts_tactics_and_precisions_are_kernels_of_their_own(rows: list[dict[str, Any]]) -> None:
    assert len({row["name"] for row in rows}) == len(rows) == len({row["ptx"] for row in rows})


@pytest.mark.parametrize("major", bindings.MAJORS)
def test_annotations_as_strings_which_other_files_may_have_are_refused_by_tensorrt(major: str) -> None:
    script = f"""{bindings.WITH_REGISTRY}
import json
from pathlib import Path
import export.tensorrt
source = Path(export.tensorrt.__file__).with_name("plugins.py").read_text()
known = dict(__name__="planted")
exec(compile("from __future__ import annotations\\n" + source, "planted.py", "exec"), known)
try:
    known["register"]((9, 0))
except (TypeError, ValueError) as fault:
    print(json.dumps(type(fault).__name__))
"""
    assert bindings.answer(bindings.python(major)(script)) in ("TypeError", "ValueError")


def test_a_second_gpu_in_one_process_and_maps_of_unknown_size_are_refused() -> None:
    script = f"""{bindings.WITH_REGISTRY}{_REGISTERED}
from export.errors import ExportError
faults = []
try:
    plugins.register((8, 0))
except ExportError as fault:
    faults.append(str(fault))
try:
    list(builder.asked(registry.creators["SEScale", "1", "sesame"], [(-1, 8, -1, 7), (-1, 8, 1, 1)], 2, "fp16"))
except ExportError as fault:
    faults.append(str(fault))
print(json.dumps(faults))
"""
    another, unknown = bindings.answer(bindings.python("11")(script))
    assert "registered for another kind of GPU" in another
    assert "maps of fixed channels, height and width" in unknown


def test_the_fingerprint_is_of_the_kernels_and_how_they_are_compiled(tmp_path: Path) -> None:
    script = f"""
import json
from pathlib import Path
import triton
from export.tensorrt import kernels, plugins, ptx, tactics
before, again = plugins.fingerprint(), plugins.fingerprint()
seen = []
for module in (kernels, ptx, tactics, plugins):
    real = module.__file__
    changed = Path({str(tmp_path / "changed.py")!r})
    changed.write_bytes(Path(real).read_bytes() + b"#")
    module.__file__ = str(changed)
    seen.append(plugins.fingerprint())
    module.__file__ = real
triton.__version__ = "4"
print(json.dumps([before, again, *seen, plugins.fingerprint()]))
"""
    before, again, *changed = bindings.answer(bindings.python("11")(script))
    assert before == again and re.fullmatch("[0-9a-f]{64}", before)
    assert len({before, *changed}) == 6


def test_a_real_registry_finds_the_plugins_by_what_outlined_nodes_say() -> None:
    script = """
import json, sys
import tensorrt
from export.tensorrt import plugins
registry = tensorrt.get_plugin_registry()
names = ("SEGate", "SEScale", "SEScaleAddRelu")
before = [registry.get_creator(name, "1", "sesame") is not None for name in names]
plugins.register((9, 0))
found = [registry.get_creator(name, "1", "sesame") for name in names]
told = [[creator.name, creator.plugin_version, creator.plugin_namespace] for creator in found]
others = [registry.get_creator("SEGate", "2", "sesame"), registry.get_creator("SEGate", "1", "")]
print(json.dumps([before, told, [creator is not None for creator in others], "torch" in sys.modules]))
"""
    before, told, others, torch = bindings.answer(bindings.python("11", lean=True)(script))
    assert before == [False] * 3
    assert told == [[name, "1", "sesame"] for name in NAMES]
    assert others == [False, False]
    assert not torch
