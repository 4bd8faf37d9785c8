"""GPUs are counted by the driver's device nodes, and by what CUDA_VISIBLE_DEVICES leaves of them."""

from pathlib import Path

import pytest

from server.host import gpu_nodes


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """Two GPUs among what else the driver has there."""
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-modeset", "null"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("visible", "count"),
    [(None, 2), ("0,1", 2), ("1", 1), ("0, 1, 2", 2), ("", 0), ("-1", 0), ("1,-1,0", 1), ("GPU-8f3a,GPU-91cc", 2)],
)
def test_the_nodes_are_counted_as_far_as_they_are_visible(devices: Path, visible: str | None, count: int) -> None:
    assert gpu_nodes.count(visible, devices) == count


def test_without_device_nodes_there_is_no_gpu(tmp_path: Path) -> None:
    assert gpu_nodes.count("0,1", tmp_path) == 0
    assert gpu_nodes.count(None, tmp_path / "nowhere") == 0
