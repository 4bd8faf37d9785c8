"""A few thousand fuzzed requests over each face; `python -m tests.attacks.fuzz` sends a hundred thousand."""

from pathlib import Path

import pytest

from tests.attacks.fuzz import fuzzed
from tests.attacks.fuzzing.mutations import Mutator
from tests.attacks.fuzzing.seeds import Requests
from tests.support import fast

_BODIES = 2000


@pytest.mark.parametrize("face", ["rest", "rpc"])
def test_nearly_good_requests_are_refused_in_words_and_harm_nothing(face: str, tmp_path: Path) -> None:
    fast.leave("starts a server")
    result = fuzzed(face, _BODIES, seed=1, offending=tmp_path)
    assert result.harm() == [], result.said.outcomes
    assert result.said.outcomes.total() == _BODIES


def test_the_same_seed_makes_the_same_requests() -> None:
    first, second = Requests(7), Requests(7)
    assert [first.rest() for _ in range(50)] == [second.rest() for _ in range(50)]
    assert [first.rpc() for _ in range(50)] == [second.rpc() for _ in range(50)]


def test_another_seed_makes_others() -> None:
    assert Requests(1).rest() != Requests(2).rest()


def test_a_mutation_changes_nearly_every_content() -> None:
    mutator = Mutator(0)
    changed = [mutator.mutated(b"0123456789" * 10) for _ in range(100)]
    assert sum(content != b"0123456789" * 10 for content in changed) > 90
