"""What all tests share: where the data lies, and the engine of asynchronous tests."""

import sys
from pathlib import Path

import pytest

from tests import fake_cuda, fake_tensorrt

REPOSITORY = Path(__file__).parents[1]
SHARED = REPOSITORY.parent / "shared" / "data"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of photos and weights that lies beside the repository."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data (photos and trained weights), which is not on this machine")
    return SHARED


@pytest.fixture(scope="session")
def photos(shared: Path) -> list[Path]:
    """200 real photos; the file name begins with the WordNet id of the class."""
    return sorted((shared / "photos").glob("*.JPEG"))


@pytest.fixture(scope="session")
def demo() -> Path:
    """The demo bundle."""
    return REPOSITORY / "bundles" / "demo" / "1"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> fake_cuda.Cuda:
    """A GPU with TensorRT, both fakes; what imports them must be imported after it."""
    monkeypatch.setitem(sys.modules, "cuda.core", fake_cuda.module())
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.module())
    return fake_cuda.cuda


@pytest.fixture
def trt(gpu: fake_cuda.Cuda) -> fake_tensorrt.Trt:
    return fake_tensorrt.trt
