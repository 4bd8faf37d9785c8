"""Without VNNI: the answers of an x86 CPU without VNNI, on a machine that has it.

ONNX Runtime has no setting that turns instructions off, so it runs under qemu (7.2 or newer, the first with AVX2),
which does not emulate VNNI. OpenVINO's oneDNN has one, `ONEDNN_MAX_CPU_ISA`, and runs at full speed.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bundle.images import Pixels
from bundle.predictions import Probabilities

CPU = "Haswell"
_QEMU = "qemu-x86_64"
_OLDEST = (7, 2)

_ON_ONNXRUNTIME = """
import sys, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
rows = [session.run(None, {"pixels": image[None]})[0] for image in numpy.load(sys.argv[2])]
numpy.save(sys.argv[3], numpy.concatenate(rows))
"""

_ON_OPENVINO = """
import sys, numpy
sys.modules["openvino_telemetry"] = None
import openvino
core = openvino.Core()
compiled = core.compile_model(core.read_model(sys.argv[1]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
request = compiled.create_infer_request()
rows = [numpy.array(request.infer({0: image[None]})[0]) for image in numpy.load(sys.argv[2])]
numpy.save(sys.argv[3], numpy.concatenate(rows))
"""


class NoEmulation(Exception):
    """This machine cannot emulate such a CPU. The message says why, and the cure."""


def onnxruntime_probabilities(model: bytes, pixels: Pixels, limit_s: float) -> Probabilities:
    """(n, classes) from ONNX Runtime on an emulated Haswell: AVX2, without AVX-512 and VNNI.

    Raises NoEmulation, or subprocess's errors where it fails or takes longer than the limit.
    """
    return _run([_qemu(), "-cpu", CPU, sys.executable, "-c", _ON_ONNXRUNTIME], {}, model, pixels, limit_s)


def openvino_probabilities(model: bytes, pixels: Pixels, limit_s: float) -> Probabilities:
    """(n, classes) from OpenVINO on this CPU with at most AVX2. Raises the same errors."""
    _require_x86()
    return _run([sys.executable, "-c", _ON_OPENVINO], {"ONEDNN_MAX_CPU_ISA": "AVX2"}, model, pixels, limit_s)


def _qemu() -> str:
    """The path of qemu, which is in Debian's package `qemu-user`."""
    _require_x86()
    path = shutil.which(_QEMU)
    if path is None:
        raise NoEmulation(f"needs {_QEMU}: `apt-get install qemu-user`")
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"version (\d+)\.(\d+)", done)
    if version is None or tuple(map(int, version.groups())) < _OLDEST:
        raise NoEmulation(f"needs {_QEMU} 7.2 or newer, the first with AVX2: {done.splitlines()[0]}")
    return path


def _require_x86() -> None:
    if platform.machine().lower() not in ("x86_64", "amd64"):
        raise NoEmulation(f"needs Python and its packages for x86-64, and these are for {platform.machine()}")


def _run(
    command: Sequence[str], settings: Mapping[str, str], model: bytes, pixels: Pixels, limit_s: float
) -> Probabilities:
    with tempfile.TemporaryDirectory(prefix="sesame-emulated-") as folder:
        graph, images, rows = (Path(folder) / name for name in ("model.onnx", "pixels.npy", "rows.npy"))
        graph.write_bytes(model)
        np.save(images, pixels)
        done = subprocess.run(
            [*command, str(graph), str(images), str(rows)],
            env=os.environ | settings, capture_output=True, text=True, timeout=limit_s, check=False,
        )  # fmt: skip
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, command[0], done.stdout, done.stderr)
        return np.asarray(np.load(rows))
