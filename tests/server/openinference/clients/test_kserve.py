"""KServe's Python client on both faces of a real server: the classes are those of `POST /classify`."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import environments
from tests.support.served_tree import ServedTree


@pytest.fixture(scope="module")
def results(served: ServedTree, sent: Path) -> dict[str, dict[str, Any]]:
    """All that the client did, by face."""
    program = ("-m", "tests.support.kserve_program", served.url, served.grpc, str(sent))
    found: dict[str, dict[str, Any]] = json.loads(environments.run("kserve", *program).splitlines()[-1])
    return found


@pytest.mark.parametrize("face", ["rest", "grpc"])
@pytest.mark.parametrize("way", ["image", "pixels", "json"])
def test_the_best_five_are_those_of_classify(
    results: dict[str, dict[str, Any]], expected: list[list[tuple[int, float, str]]], face: str, way: str
) -> None:
    """`json`: over gRPC these are typed contents."""
    assert results[face][way] == [[index for index, _, _ in row] for row in expected]


@pytest.mark.parametrize("face", ["rest", "grpc"])
def test_it_is_live_and_ready(results: dict[str, dict[str, Any]], face: str) -> None:
    assert results[face]["health"] == [True, True, True]


def test_an_unknown_model_is_refused_with_a_reason(results: dict[str, dict[str, Any]]) -> None:
    assert "404" in results["rest"]["unknown"]
    assert "nope" in results["rest"]["unknown"]
