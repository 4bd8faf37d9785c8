"""NVIDIA's four Python clients of Triton against a real server: the classes are those of `POST /classify`."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import environments
from tests.support.served_tree import ServedTree

CLIENTS = ("http", "http.aio", "grpc", "grpc.aio")
Rows = list[list[tuple[int, float, str]]]

_RANKED = (
    *("image", "image_of_one_dimension", "pixels", "one_by_one", "many_at_once", "json", "json_photos"),
    *("gzip", "deflate", "shared_memory"),
)
_REFUSED = {
    "unknown_model": ("404", "NOT_FOUND"),
    "unknown_version": ("404", "NOT_FOUND"),
    "unknown_input": ("400", "INVALID_ARGUMENT"),
    "unknown_output": ("400", "INVALID_ARGUMENT"),
    "both_inputs": ("400", "INVALID_ARGUMENT"),
    "wrong_shape": ("400", "INVALID_ARGUMENT"),
    "no_photo": ("415", "INVALID_ARGUMENT"),
    "too_late": ("504", "DEADLINE_EXCEEDED"),
    "not_an_operator": ("403", "PERMISSION_DENIED"),
}
"""What the client is told: the status over HTTP and over gRPC."""


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def results(client: str, served: ServedTree, sent: Path) -> dict[str, Any]:
    """All that one client did, by name."""
    address = served.url.removeprefix("http://") if client.startswith("http") else served.grpc
    printed = environments.run("client", "-m", "tests.support.triton", client, address, str(sent))
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


@pytest.fixture
def classes(expected: Rows) -> list[list[int]]:
    """The five best classes of each photo."""
    return [[index for index, _, _ in row] for row in expected]


@pytest.mark.parametrize("way", _RANKED)
def test_the_best_five_are_those_of_classify(results: dict[str, Any], classes: list[list[int]], way: str) -> None:
    assert results[way] == classes


def test_other_pixels_have_other_classes(results: dict[str, Any], classes: list[list[int]]) -> None:
    assert len(results["mirrored"]) == len(classes)
    assert results["mirrored"] != classes


@pytest.mark.parametrize("way", ["classification", "classification_as_json"])
def test_classes_as_text_are_probability_index_and_label(results: dict[str, Any], expected: Rows, way: str) -> None:
    split = [[text.split(":", 2) for text in row] for row in results[way]]
    assert [[(int(index), label) for _, index, label in row] for row in split] == [
        [(index, label) for index, _, label in row] for row in expected
    ]
    assert [[float(number) for number, _, _ in row] for row in split] == [
        pytest.approx([probability for _, probability, _ in row], abs=1e-4) for row in expected
    ]


def test_priority_and_timeout_change_no_class(results: dict[str, Any], classes: list[list[int]]) -> None:
    assert results["priority_and_timeout"] == [classes, classes]


def test_a_stream_answers_in_the_order_of_the_requests_and_goes_on_after_one_that_failed(
    client: str, results: dict[str, Any], classes: list[list[int]]
) -> None:
    """As Triton does. An answer is matched by its place where a request has no id."""
    if client.startswith("http"):
        assert results["stream"] is None
        return
    first, (status, reason), *others = results["stream"]
    assert [first, *others] == classes
    assert status == "None"  # the client knows none for a part of a stream
    assert "JPEG, PNG or WebP" in reason


def test_the_id_comes_back(client: str, results: dict[str, Any]) -> None:
    assert results["request_id"] == ["número 7", None if client.startswith("http") else ""]


def test_a_version_answers_whoever_asks_for_it_and_the_newest_whoever_does_not(results: dict[str, Any]) -> None:
    assert results["versions"] == ["1", "2", "2"]


@pytest.mark.parametrize("fault", _REFUSED)
def test_a_refusal_has_its_status_and_a_reason(client: str, results: dict[str, Any], fault: str) -> None:
    status, reason = results[fault]
    over_http, over_grpc = _REFUSED[fault]
    assert status == (over_http if client.startswith("http") else f"StatusCode.{over_grpc}")
    assert len(reason) > 10
    assert "decoding" not in reason  # of its answer: what the client says of a body that it cannot read


def test_it_is_live_and_ready(results: dict[str, Any]) -> None:
    assert results["health"] == [True, True, True, True, False]


def test_the_server_and_its_models_are_described(results: dict[str, Any]) -> None:
    server, model, config, index = results["metadata"]
    assert {"classification", "statistics", "system_shared_memory"} < set(server["extensions"])
    assert [each["name"] for each in model["inputs"]] == ["image", "pixels"]
    assert [str(size) for size in model["inputs"][1]["shape"]] == ["-1", "64", "64", "3"]
    assert model["versions"] == ["1", "2"]
    assert [each["optional"] for each in config["input"]] == [True, True]
    assert config["max_batch_size"] == 64
    assert {(each["name"], each["version"], each["state"]) for each in index} == {
        ("demo", "1", "READY"),
        ("demo", "2", "READY"),
        ("other", "1", "READY"),
    }


def test_statistics_count_each_image(results: dict[str, Any], classes: list[list[int]]) -> None:
    before, after = results["statistics"]
    assert after - before == len(classes)


def test_an_operator_unloads_and_loads_a_model(results: dict[str, Any]) -> None:
    assert results["operator"] == [False, True]
