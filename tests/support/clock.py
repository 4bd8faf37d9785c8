"""Clock: the time of measurements, which only a fake engine moves, so that they take none and come out the same."""

import pytest


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def of_measurements(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that `batch_size` reads instead of the machine's."""
    clock = Clock()
    monkeypatch.setattr("server.engines.batch_size.time.perf_counter", clock)
    monkeypatch.setattr("server.engines.batch_size.time.monotonic", clock)
    return clock
