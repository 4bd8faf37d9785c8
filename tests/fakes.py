"""Fakes of a GPU in processes of their own."""

import os
from pathlib import Path

from tests.conftest import REPOSITORY

_SITE = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from types import ModuleType
from tests import fake_cuda, fake_tensorrt

sys.modules["cuda.core"] = fake_cuda.module()
sys.modules["tensorrt"] = fake_tensorrt.module()
plugins = sys.modules["export.tensorrt.plugins"] = ModuleType("export.tensorrt.plugins")
plugins.register = lambda capability: None
plugins.fingerprint = lambda: "kernels"
fake_cuda.cuda.names = {{names}}
"""


def with_gpus(folder: Path, *names: str) -> dict[str, str]:
    """An environment in which Python finds these GPUs and a TensorRT whose engines ONNX Runtime computes."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SITE.replace("{names}", repr(list(names or ["NVIDIA H200"]))))
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
