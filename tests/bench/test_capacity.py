"""What machines of other sizes should reach: the smallest of the limits, and the table in the documentation."""

import pytest

from bench import capacity
from bench.capacity import GPU_PER_S, Costs
from server.startup.front_count import useful_fronts
from tests.conftest import REPOSITORY

COSTS = Costs(front=300, decode=1200, core=60, engine=11_000)


@pytest.mark.parametrize(
    ("cores", "gpus", "costs", "limit", "per_s"),
    [
        (2, 0, COSTS, "CPU cores", 2e6 / 12_500),
        (4, 1, COSTS, "CPU cores", 4e6 / 1500),
        (64, 1, Costs(front=10, decode=20, core=1, engine=0), "GPUs", GPU_PER_S),
        (16, 8, Costs(front=300, decode=10, core=1, engine=0), "event loops", useful_fronts(16, 8) * 1e6 / 300),
        (64, 8, Costs(front=10, decode=10, core=60, engine=0), "core process", 1e6 / 60),
    ],
)
def test_the_smallest_limit_counts(cores: int, gpus: int, costs: Costs, limit: str, per_s: float) -> None:
    found = capacity.capacity(cores, gpus, costs)
    assert found.limit == limit
    assert found.images_per_s == pytest.approx(per_s)


def test_the_table_in_the_documentation_is_computed_from_the_results() -> None:
    text = (REPOSITORY / "docs" / "decisions" / "processes.md").read_text(encoding="utf-8")
    assert capacity.table(capacity.measured()) in text
