"""Whatever files of ours ask of TensorRT by name, the real bindings of 10 and 11 have."""

import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.support import bindings
from tests.support.asked import asked

_ROOMS = ("bundle", "models", "trt", "export", "server", "bench")
USERS = [
    file
    for room in _ROOMS
    for file in sorted((REPOSITORY / room).rglob("*.py"))
    if re.search(r"^\s*(import tensorrt|from tensorrt[ .])", file.read_text(encoding="utf-8"), re.MULTILINE)
]


@pytest.mark.parametrize("file", USERS, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_both_versions_of_tensorrt_have_every_name_that_is_asked_for(file: Path) -> None:
    assert len(asked(file.read_text(encoding="utf-8"))) > 0
    assert bindings.missing_names(file) == []


def test_names_that_a_version_lacks_are_found(tmp_path: Path) -> None:
    source = """
import tensorrt as trt
import tensorrt.plugin
from tensorrt import plugin as trtp
from tensorrt.plugin import TensorDesc, Nothing

Flag = trt.BuilderFlag

def build(builder, flags=trt.Logger.WARNING):
    trt.Builder(trt.Logger()).nothing_tells_this_class
    asked = Flag.FP16, Flag.REFIT, trt.BuilderFlag.BF16, trt.Whatever.X
    return asked, trtp.cdiv, trtp.whatever, TensorDesc.like, Nothing
"""
    (tmp_path / "planted.py").write_text(source)
    both = ["Nothing", "trt.Whatever.X", "trtp.whatever"]
    only_11 = ["Flag.FP16", "trt.BuilderFlag.BF16"]
    expected = [f"10: {name}" for name in both] + [f"11: {name}" for name in both + only_11]
    assert sorted(bindings.missing_names(tmp_path / "planted.py")) == sorted(expected)


def test_a_package_that_is_handed_over_is_checked_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "handed.py").write_text("def flags(rt):\n    return rt.BuilderFlag.INT8, rt.BuilderFlag.TF32\n")
    assert bindings.missing_names(tmp_path / "handed.py", "rt") == ["11: rt.BuilderFlag.INT8"]


@pytest.mark.parametrize("major", bindings.MAJORS)
def test_the_bindings_are_the_real_ones_and_nothing_runs(major: str) -> None:
    script = """
import json, tensorrt as trt
try:
    made = str(trt.Builder(trt.Logger()))
except TypeError:
    made = None
print(json.dumps([trt.__version__, made, trt.get_plugin_registry()]))
"""
    version, made, registry = bindings.answer(bindings.python(major)(script))
    assert version.split(".")[0] == major
    assert (made, registry) == (None, None)
