"""The fakes promise nothing that the real ones do not have."""

import inspect
from types import ModuleType

import pytest

from tests import fake_cuda


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
"""What tests need besides."""
