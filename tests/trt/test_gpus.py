"""GPUs: their facts, or why there is none and the cure."""

import builtins
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.fake_cuda import Cuda
from trt.gpus import Gpu, NoGpu, gpus


def test_every_gpu_is_told_with_what_makes_it_unlike_others(gpu: Cuda) -> None:
    gpu.names = ["NVIDIA H200", "NVIDIA A100-SXM4-80GB MIG 3g.40gb"]
    assert gpus() == [
        Gpu(0, "NVIDIA H200", "9.0", 132, "13.1"),
        Gpu(1, "NVIDIA A100-SXM4-80GB MIG 3g.40gb", "9.0", 132, "13.1"),
    ]


def test_a_process_that_is_shown_none_is_told_what_hides_them(gpu: Cuda) -> None:
    gpu.names = []
    with pytest.raises(NoGpu, match="CUDA_VISIBLE_DEVICES"):
        gpus()


def test_without_cudas_packages_the_cure_is_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("cuda"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(NoGpu, match=r"pip install '\.\[gpu\]'"):
        gpus()


def test_without_a_driver_the_cure_is_to_install_it(gpu: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise RuntimeError('"cuda" is an NVIDIA driver library\nand more')

    monkeypatch.setattr(sys.modules["cuda.core"], "Device", SimpleNamespace(get_all_devices=broken))
    with pytest.raises(NoGpu, match=r"is an NVIDIA driver library\).*install NVIDIA's driver.*--gpus all"):
        gpus()
