"""What all tests share: where the data lies, and the event loop of asynchronous tests."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextvars import Context
from pathlib import Path
from typing import Any, TypeVarTuple

import pytest

from tests.support import fake_cuda, fake_tensorrt, fast

REPOSITORY = Path(__file__).parents[1]
SHARED = REPOSITORY.parent / "shared" / "data"
Arguments = TypeVarTuple("Arguments")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="leave out what is slow: tests/support/fast.py")


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("PYTEST_XDIST_WORKER"):  # before torch is imported: beside another worker, one thread is enough
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    if config.getoption("--fast"):
        fast.switch_on()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    with fast.watched():
        return (yield)


class LoopOfOneTest(asyncio.SelectorEventLoop):
    """An event loop that drops what is called in it after its end.

    gRPC has one thread for the events of all loops of a process. An event for a loop that is closed, such as
    the end of a call that a test left, would raise inside the loop of whatever test runs then.
    """

    def call_soon_threadsafe(
        self, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        if self.is_closed():
            return asyncio.Handle(callback, args, self, context)
        return super().call_soon_threadsafe(callback, *args, context=context)


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": LoopOfOneTest}


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of photos and weights that lies beside the repository."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data (photos and trained weights), which is not on this machine")
    fast.leave("reads photos or trained weights of ../shared")
    return SHARED


@pytest.fixture(scope="session")
def photos(shared: Path) -> list[Path]:
    """200 real photos; the file name begins with the WordNet id of the class."""
    return sorted((shared / "photos").glob("*.JPEG"))


@pytest.fixture(scope="session")
def demo() -> Path:
    """The demo bundle."""
    return REPOSITORY / "model_repository" / "demo" / "1"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> fake_cuda.Cuda:
    """A GPU with TensorRT, both fakes; what imports them must be imported after it."""
    monkeypatch.setitem(sys.modules, "cuda.core", fake_cuda.module())
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.module())
    return fake_cuda.cuda


@pytest.fixture
def trt(gpu: fake_cuda.Cuda) -> fake_tensorrt.Trt:
    return fake_tensorrt.state
