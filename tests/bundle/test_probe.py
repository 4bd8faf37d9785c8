"""A probe is read correctly beside others that are read at the same time."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from bundle.probe import Probe


def test_one_probe_is_read_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two at once failed about once in 200 on Python 3.11: "AST constructor recursion depth mismatch".
    probe = Probe(np.zeros((1, 8, 8, 3), np.uint8), np.ones((1, 1), np.float32))
    data = probe.to_bytes()
    at_once, most = 0, 0
    load = np.load

    def count(*args: Any, **kwargs: Any) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        time.sleep(0.01)
        at_once -= 1
        return load(*args, **kwargs)

    monkeypatch.setattr(np, "load", count)
    with ThreadPoolExecutor(4) as threads:
        for read in threads.map(Probe.from_bytes, [data] * 8):
            np.testing.assert_array_equal(read.pixels, probe.pixels)
    assert most == 1
