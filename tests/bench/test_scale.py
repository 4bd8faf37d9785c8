"""How many pods a rate takes: the smallest of a pod's limits, and the tables in the documentation."""

import dataclasses

import pytest

from bench import capacity, scale
from bench.capacity import Costs
from bench.scale import Assumptions, Pod, Sent
from tests.conftest import REPOSITORY

COSTS = Costs(front=300, decode=0, core=60, engine=11_000)
ASSUMED = Assumptions(busy=0.5, nic_gbit=8.0, core_hour=0.36)
PHOTO = Sent("photo", 100_000, 1200.0)


def test_half_of_a_pod_is_planned_with_and_paid_for_all_of_it() -> None:
    given = scale.share(Pod("cores", 2), PHOTO, COSTS, ASSUMED)
    assert given.limit == "CPU cores"
    assert given.images_per_s == pytest.approx(80)
    assert given.per_million == pytest.approx(2 * 0.36 / 3600 / 80 * 1e6)


def test_large_photos_fill_the_network_first() -> None:
    large = dataclasses.replace(PHOTO, size_bytes=100_000_000)
    given = scale.share(Pod("cores", 2), large, COSTS, ASSUMED)
    assert given.limit == "network"
    assert given.images_per_s == pytest.approx(5)


def test_a_slower_gpu_is_the_limit_sooner() -> None:
    fast = dataclasses.replace(COSTS, front=10, core=1)
    given = scale.share(Pod("gpu", 64, 1, 100.0), PHOTO, fast, ASSUMED)
    assert given.limit == "GPUs"
    assert given.images_per_s == pytest.approx(50)


def test_the_tables_in_the_documentation_are_computed_from_the_results() -> None:
    text = (REPOSITORY / "docs" / "capacity.md").read_text(encoding="utf-8")
    decode = scale.decode_figures()
    assert scale.table(capacity.measured(), decode, Assumptions()) in text
    assert scale.network(decode) in text
    dearer = Assumptions(core_hour=0.08)
    assert scale.table(capacity.measured(), decode, dearer) not in text
