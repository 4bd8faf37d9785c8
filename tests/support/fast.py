"""`--fast`: what leaves a test to `make test`, by what it does and not by a mark that somebody must keep.

A test that is about to start a process or a server, to export, quantise or train a network, to ask another library, or
to read what lies in ../shared, is skipped at that very point. So a new test belongs to one side or the other by itself.
"""

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Never

import pytest

SLOW = {
    "torch.onnx": {"export": "exports a network"},
    "export.graphs.int8": {"quantize_static": "quantises a network"},
    "models.recipes.training": {"optimiser": "trains a network"},
}
"""Functions by module, and what a test does that calls them."""

_EVENTS = ("subprocess.Popen", "os.fork", "os.posix_spawn")
_on = False
_testing = False


def switch_on() -> None:
    """For the rest of this process."""
    global _on
    _on = True
    sys.addaudithook(_heard)


def leave(why: str) -> None:
    """To be called before something slow: skips the test, where `--fast` was asked for."""
    if _on and _testing:
        pytest.skip(f"left to make test: {why}")


@contextmanager
def watched() -> Iterator[None]:
    """While a test and its fixtures run: the slow functions of what was imported until now skip it."""
    global _testing
    with pytest.MonkeyPatch.context() as patch:
        for module, functions in SLOW.items():
            if _on and (module in sys.modules or _is_lazy(module)):
                for name, why in functions.items():
                    patch.setattr(importlib.import_module(module), name, _leaving(why))
        _testing = True
        yield
        _testing = False


def _is_lazy(module: str) -> bool:
    """Whether the module is a part of torch, which is imported when first asked for."""
    return module.startswith("torch.") and "torch" in sys.modules


def _leaving(why: str) -> Callable[..., Never]:
    def left(*_: Any, **__: Any) -> Never:
        pytest.skip(f"left to make test: {why}")

    return left


def _heard(event: str, _: tuple[object, ...]) -> None:
    """On every thread, for every event of the interpreter. Only the thread of the tests can be left."""
    if event in _EVENTS and threading.current_thread() is threading.main_thread():
        leave("starts a process")
