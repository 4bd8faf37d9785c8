"""NVIDIA's own bindings of TensorRT 10 and 11 over empty libraries: every name is real, but nothing runs.

`bindings.python("11")` runs a script in a new process in which `import tensorrt` is the real package, with all its
enums, classes and signatures, and all of `tensorrt.plugin`. Calls into the library return 0 or None, so that making a
Builder or a Runtime is a TypeError. `bindings.python("11", lean=True)` adds the registry and the Runtime of the lean
library, which load without a GPU; a Runtime then logs that there is no GPU, and ends the process with an error.
`bindings.missing_names(path)` lists the names that a file uses and `tensorrt` does not have.

`make setup` puts the wheels beside the environment; without them or gcc, tests are skipped.
"""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.support.asked import Chain, asked

MAJORS = ("10", "11")
LEAN = Path(sys.prefix) / "tensorrt-lean" / "tensorrt_lean_libs"

_LIBRARIES = {
    "nvonnxparser": ("createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getNvOnnxParserVersion"),
    "nvinfer_plugin": ("initLibNvInferPlugins",),
    "nvinfer": (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "createInferRuntime_INTERNAL",
        "getBuilderPluginRegistry",
        "getPluginRegistry",
    ),
}
"""All symbols that the bindings of 10.16 and 11.4 import, by `nm --undefined-only`."""
_LENT = ("createInferRuntime_INTERNAL", "getPluginRegistry")

WITH_REGISTRY = """
import tensorrt

class Registry:
    def __init__(self):
        self.creators = {}
    def register_creator(self, creator, namespace=""):
        self.creators[creator.name, creator.plugin_version, namespace] = creator
        return True
    def get_creator(self, name, version, namespace=""):
        return self.creators.get((name, version, namespace))

registry = Registry()
tensorrt.get_plugin_registry = lambda: registry
"""
"""Begins scripts that register plugins where no library has a registry."""

Script = Callable[[str], subprocess.CompletedProcess[str]]


def python(major: str, lean: bool = False) -> Script:
    """A function that runs a script with that TensorRT and this repository. Skips the test where that is impossible."""
    site = _site(major, lean)
    paths = [str(site), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    libraries = [str(site), *([str(LEAN)] if lean else []), os.environ.get("LD_LIBRARY_PATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
    }

    def run(script: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    return run


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    """The last line that the script printed, from JSON. Fails the test if the script failed."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def missing_names(source: Path, module: str = "tensorrt") -> list[str]:
    """The names in a file of ours that a version of TensorRT does not have: `11: tensorrt.BuilderFlag.FP16`."""
    return _missing(asked(source.read_text(encoding="utf-8"), module))


def _missing(names: Mapping[str, Chain]) -> list[str]:
    script = f"""
import importlib, json, pkgutil
missing = []
for asked, (module, *chain) in {dict(names)}.items():
    importlib.import_module(module)
    try:
        pkgutil.resolve_name(".".join((module, *chain)))
    except (AttributeError, ImportError):
        missing.append(asked)
print(json.dumps(missing))
"""
    return [f"{major}: {name}" for major in MAJORS for name in answer(python(major)(script))]


@functools.cache
def _site(major: str, lean: bool) -> Path:
    """A folder with the package and its libraries, made once and stored beside the wheel."""
    wheel = Path(sys.prefix) / f"tensorrt-{major}" / "tensorrt_bindings"
    if not wheel.is_dir() or (lean and not LEAN.is_dir()):
        pytest.skip(f"needs the bindings of TensorRT {major}{' and its lean library' if lean else ''}: make setup")
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, for libraries that stand in for TensorRT's")
    sources = {f"lib{name}.so.{major}": _source(symbols, major, lean) for name, symbols in _LIBRARIES.items()}
    digest = hashlib.sha256("".join(sources.values()).encode()).hexdigest()
    site = wheel.parent / f"over-{digest[:12]}"
    if not site.is_dir():
        draft = Path(tempfile.mkdtemp(dir=wheel.parent))
        (draft / "tensorrt").symlink_to(Path("..", wheel.name))
        for library, source in sources.items():
            options = ["-shared", "-fPIC", "-x", "c", "-", f"-Wl,-soname,{library}", "-ldl"]
            subprocess.run(["gcc", *options, "-o", draft / library], input=source, text=True, check=True)
        try:
            draft.rename(site)
        except OSError:  # another process of tests was first
            shutil.rmtree(draft)
    return site


def _source(symbols: tuple[str, ...], major: str, lean: bool) -> str:
    """C source of functions that return 0, or what the lean library's functions return."""
    lines = ["#include <dlfcn.h>", "#include <stdint.h>", "typedef void* (*asked)(void*, int32_t);"]
    for symbol in symbols:
        body = "return 0;"
        if lean and symbol in _LENT:
            opened = f'dlopen("libnvinfer_lean.so.{major}", RTLD_NOW | RTLD_GLOBAL)'
            body = f'return ((asked)dlsym({opened}, "{symbol}"))(first, second);'
        lines.append(f"void* {symbol}(void* first, int32_t second) {{ {body} }}")
    return "\n".join(lines) + "\n"
