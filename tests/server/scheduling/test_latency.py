"""How long work takes: interpolated, kept current, and never stuck on a bad memory."""

import pytest

from server.scheduling.latency import LatencyModel


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_sizes_between_are_interpolated_and_larger_ones_are_whole_pieces_and_a_rest() -> None:
    latency = LatencyModel({1: 0.010, 4: 0.025})
    assert [latency.seconds(images) for images in (0, 1, 2, 4, 9)] == pytest.approx([0, 0.010, 0.015, 0.025, 0.060])


def test_what_is_seen_moves_all_predictions_towards_it() -> None:
    latency = LatencyModel({1: 0.010, 4: 0.025}, Clock())
    for _ in range(40):
        latency.saw(4, 0.050)
    assert latency.slowness == pytest.approx(2, rel=1e-3)
    assert latency.seconds(1) == pytest.approx(0.020, rel=1e-3)


def test_a_stall_is_forgotten_in_time_even_if_nothing_is_seen_any_more() -> None:
    clock = Clock()
    latency = LatencyModel({1: 0.010}, clock)
    latency.saw(1, 10)
    assert latency.seconds(1) > 1
    clock.now_s += 200
    assert latency.seconds(1) == pytest.approx(0.010, rel=0.01)


def test_what_disturbed_one_image_does_not_make_full_batches_slow() -> None:
    one, full = (LatencyModel({1: 0.010, 8: 0.080}, Clock()) for _ in range(2))
    one.saw(1, 0.070)
    full.saw(8, 0.560)
    assert full.slowness == pytest.approx(2.2)
    assert one.slowness == pytest.approx(1.15)
