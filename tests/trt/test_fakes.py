"""The fakes have no names and parameters that the real bindings lack."""

import inspect
import re
from enum import Enum
from types import ModuleType

import pytest

from tests.support import bindings, fake_cuda, fake_tensorrt


def public(module: ModuleType) -> dict[str, object]:
    return {name: value for name, value in vars(module).items() if not name.startswith("_")}


def test_all_that_the_fake_cuda_has_is_in_cuda_core() -> None:
    real = pytest.importorskip("cuda.core")
    for name, fake in public(fake_cuda.module()).items():
        if name == "system":
            assert callable(real.system.get_user_mode_driver_version)
            continue
        for method, body in public(fake).items():  # type: ignore[arg-type]
            assert hasattr(getattr(real, name), method) or method in OURS, f"{name}.{method}"
            if inspect.isfunction(body) and method not in OURS:
                told = getattr(getattr(real, name), method).__doc__ or ""
                for parameter in list(inspect.signature(body).parameters)[1:]:
                    assert parameter in told, f"{name}.{method}({parameter})"


OURS = {"by_handle", "queue", "captured", "put", "step", "of", "current", "stream"}
"""Members of the fakes for tests only."""


@pytest.mark.parametrize("major", bindings.MAJORS)
def test_all_that_the_fake_tensorrt_has_is_in_nvidias_bindings(major: str) -> None:
    """Methods, their parameters, and the attributes of instances."""
    names = {name: getattr(fake_tensorrt, name) for name in fake_tensorrt.NAMES}
    asked = {name: {**_methods(fake), **{key: [] for key in _attributes(fake)}} for name, fake in names.items()}
    script = f"""
import json
import tensorrt
missing = []
for name, members in {asked}.items():
    for member, parameters in members.items():
        real = getattr(getattr(tensorrt, name), member, None)
        told = (getattr(real, "__doc__", None) or "").replace("arg0", "").split(chr(10) * 2)
        if not hasattr(getattr(tensorrt, name), member):
            missing.append(f"{{name}}.{{member}}")
        missing += [f"{{name}}.{{member}}({{at}})" for at in parameters if f"{{at}}:" not in str(real.__doc__)]
print(json.dumps(missing))
"""
    assert bindings.answer(bindings.python(major)(script)) == []
    assert bindings.answer(bindings.python(major)(script.replace("'get_input'", "'get_inputt'"))) != []


def _methods(fake: type) -> dict[str, list[str]]:
    functions = {name: body for name, body in public(fake).items() if inspect.isfunction(body)}  # type: ignore[arg-type]
    return {name: list(inspect.signature(body).parameters)[1:] for name, body in functions.items()}


def _attributes(fake: type) -> set[str]:
    if issubclass(fake, Enum):
        return set(fake.__members__)
    found = set(re.findall(r"self\.([a-z]\w*)(?::[^=]*)? = ", inspect.getsource(fake)))
    return found - {"batches", "answers", "model", "batch", "data", "flags", "said"}  # tests' own
