"""deploy/ray.yaml: its settings are Sesame's own, and its limits fit those of a replica."""

from typing import Any

import pytest
import yaml

from deploy.ray_settings import read, with_threads
from server.settings import Settings, SettingsError
from tests.conftest import REPOSITORY

CONFIG: dict[str, Any] = yaml.safe_load((REPOSITORY / "deploy" / "ray.yaml").read_text())


def test_values_of_yaml_are_settings() -> None:
    args = {"settings": {"max_batch": 8, "exact_pixels": True, "engine": "onnxruntime-cpu"}, "multiplexed_models": 2}
    found = read(args)
    assert (found.settings.max_batch, found.settings.exact_pixels, found.settings.engine) == (
        8,
        True,
        "onnxruntime-cpu",
    )
    assert found.multiplexed_models == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"setings": {}}, "args has no 'setings'"),
        ({"settings": ["max_batch"]}, "must be names with values"),
        ({"settings": {"max_bach": 8}}, "There is no setting 'max_bach'"),
        ({"settings": {"max_batch": "many"}}, "max_batch must be a whole number, not 'many'"),
        ({"settings": {"max_batch": None}}, "max_batch has no value"),
        ({"settings": {"http_port": 80}}, "http_port is not a replica's: set http_options: port"),
        ({"multiplexed_models": -1}, "multiplexed_models must be a whole number"),
        ({"multiplexed_models": 2, "settings": {"watch_s": 5}}, "leave it out where multiplexed_models is set"),
    ],
)
def test_what_cannot_be_used_is_named(args: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read(args)


@pytest.mark.parametrize(("cpus", "threads"), [(0.0, 0), (0.5, 1), (1.0, 1), (4.0, 4)])
def test_a_replica_has_as_many_threads_as_cpus_of_rays(cpus: float, threads: int) -> None:
    found = with_threads(Settings(), cpus)
    assert (found.decode_threads, found.engine_threads) == (threads, threads)


def test_threads_that_are_set_stay() -> None:
    found = with_threads(Settings(decode_threads=3, engine_threads=5), 1.0)
    assert (found.decode_threads, found.engine_threads) == (3, 5)


def test_the_replica_answers_or_refuses_before_ray_gives_up() -> None:
    (application,) = CONFIG["applications"]
    (deployment,) = application["deployments"]
    settings = read(application["args"]).settings
    for proxy in ("http_options", "grpc_options"):
        assert CONFIG[proxy]["request_timeout_s"] * 1000 > settings.max_timeout_ms
    assert deployment["max_ongoing_requests"] > settings.queue_images
    assert deployment["graceful_shutdown_timeout_s"] > settings.drain_limit_s
    assert deployment["max_queued_requests"] > 0
