"""Fakes of a GPU in processes of their own, and bundles for it."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from bundle import draft
from bundle.files import Bundle
from tests.conftest import REPOSITORY

_SITE = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from types import ModuleType
from tests.support import fake_cuda, fake_tensorrt

sys.modules["cuda.core"] = fake_cuda.module()
sys.modules["tensorrt"] = fake_tensorrt.module()
plugins = sys.modules["export.tensorrt.plugins"] = ModuleType("export.tensorrt.plugins")
plugins.register = lambda capability: None
plugins.fingerprint = lambda: "kernels"
fake_cuda.cuda.names = {{names}}
fake_tensorrt.state.hold = {{hold}}
"""


def with_gpus(folder: Path, *names: str, hold: bool = False) -> dict[str, str]:
    """An environment in which Python finds these GPUs and a TensorRT whose engines ONNX Runtime computes.

    `hold`: it builds for ever, and asks nobody whether it should stop.
    """
    folder.mkdir(exist_ok=True)
    site = _SITE.replace("{names}", repr(list(names or ["NVIDIA H200"]))).replace("{hold}", repr(hold))
    (folder / "sitecustomize.py").write_text(site)
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def with_graphs(root: Path, bundle: Bundle, graphs: Mapping[str, bytes]) -> Path:
    """A bundle with these graphs besides, by precision, each as if it were proven."""
    manifest = bundle.manifest
    graph, row = manifest.graphs[0], manifest.parity[0]
    kept, rows, contents = [graph], [row], {graph.file: bundle.graph("fp32")[1].read_bytes()}
    for precision, content in graphs.items():
        file, sha256 = f"model.{precision}.onnx", hashlib.sha256(content).hexdigest()
        contents[file] = content
        kept.append(dataclasses.replace(graph, file=file, sha256=sha256, bytes=len(content), precision=precision))
        rows.append(dataclasses.replace(row, file=file, precision=precision))
    contents |= {name: (bundle.path / name).read_bytes() for name in ("labels.tsv", "probe.npz")}
    return draft.publish(root, dataclasses.replace(manifest, graphs=tuple(kept), parity=tuple(rows)), contents)
