"""A replica of Ray Serve that loads models when requests name them, on a cluster of this machine."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from bench.ray_serve.cluster import Cluster, cluster
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.pb.sesame.v1 import classifier_pb2_grpc as pb_grpc
from tests.support import environments, fast
from tests.support.pictures import jpeg
from tests.support.published import publish

_HEADER = "serve_multiplexed_model_id"
_LIMIT_S = 120


@pytest.fixture(scope="module")
def ray(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One replica over three models, two of them at a time."""
    environments.python("ray")
    fast.leave("starts a server")
    folder = tmp_path_factory.mktemp("ray")
    for name in ("first", "second", "third"):
        publish(demo, folder / "models", 1, name=name)
    photo = folder / "photo.jpg"
    photo.write_bytes(jpeg())
    one = {"autoscaling_config": None, "num_replicas": 1}
    settings = {"model_repository": str(folder / "models"), "cache_dir": str(folder / "cache")}
    with cluster(photo, one, settings, multiplexed_models=2) as running:
        yield running


def states(ray: Cluster) -> dict[str, str]:
    models = httpx.get(f"{ray.url}/models", timeout=_LIMIT_S).json()["models"]
    return {each["model"]: each["state"] for each in models}


def classified_by(ray: Cluster, model: str) -> httpx.Response:
    return httpx.post(f"{ray.url}/classify", content=jpeg(), headers={_HEADER: model}, timeout=_LIMIT_S)


def test_models_are_loaded_when_named_and_the_least_recently_used_is_unloaded(ray: Cluster) -> None:
    assert "READY" not in states(ray).values()
    for model in ("first", "second", "first", "third"):
        assert classified_by(ray, model).json()["model"] == model
    assert states(ray) == {"first": "READY", "second": "UNLOADED", "third": "READY"}
    assert httpx.post(f"{ray.url}/classify?model=second", content=jpeg(), timeout=_LIMIT_S).json()["model"] == "second"
    assert states(ray) == {"first": "UNLOADED", "second": "READY", "third": "READY"}


def test_a_name_that_there_is_not_unloads_nothing(ray: Cluster) -> None:
    before = states(ray)
    answer = classified_by(ray, "fourth")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_model")
    assert states(ray) == before


def test_metadata_names_the_model_over_grpc(ray: Cluster) -> None:
    with grpc.insecure_channel(ray.grpc) as channel:
        stub = pb_grpc.ImageClassifierStub(channel)  # type: ignore[no-untyped-call]
        metadata = (("multiplexed_model_id", "first"),)
        answer = stub.Classify(pb.ClassifyRequest(image=jpeg()), metadata=metadata, timeout=_LIMIT_S)
        explained = stub.Explain(
            pb.ExplainRequest(photo=pb.ClassifyRequest(image=jpeg())), metadata=metadata, timeout=_LIMIT_S
        )
    assert (answer.model, explained.classified.model) == ("first", "first")
