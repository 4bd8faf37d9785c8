"""The chart's container as a plain process, with a kubelet's probes: its start, a failed probe, its end under load."""

import asyncio
import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from server.host.exit_codes import STOPPED
from tests.attacks.leaving import seen_off
from tests.conftest import REPOSITORY
from tests.support import fast
from tests.support.chart import Rendered, one
from tests.support.pictures import jpeg
from tests.support.pod import Pod, restricted, started

_DELAY_S, _LIMIT_S = 2, 30
_MOST_S = 300.0
SETTINGS = {"drain_delay_s": _DELAY_S, "drain_limit_s": _LIMIT_S, "engine": "onnxruntime-cpu", "precision": "fp32"}


@contextmanager
def running(chart: Rendered, within: Callable[[Path], Sequence[str]] = lambda cache: ()) -> Iterator[Pod]:
    """The container on the demo, once its startup and readiness probes have succeeded. `within` is given the cache."""
    fast.leave("starts a server")
    with tempfile.TemporaryDirectory(prefix="sesame-cache-") as cache:
        paths = {"/app/model_repository": REPOSITORY / "model_repository", "/cache": Path(cache)}
        with started(chart.container, paths, within(Path(cache))) as pod:
            assert pod.probe("startupProbe").await_success(), pod.log()
            assert pod.probe("readinessProbe").await_success(), pod.log()
            yield pod


def classified(pod: Pod) -> int:
    """The status of an answer to a photo."""
    return httpx.post(f"http://127.0.0.1:{pod.http_port}/classify", content=jpeg(), timeout=60).status_code


@pytest.mark.parametrize("more", [{"fronts": 0}, {"fronts": 2}], ids=["one process", "two fronts"])
def test_it_starts_and_leaves_within_its_grace_with_every_admitted_request_answered(more: dict[str, int]) -> None:
    chart = one({"settings": SETTINGS | more})
    grace_s = float(chart.pod["terminationGracePeriodSeconds"])
    with running(chart) as pod:
        left = asyncio.run(asyncio.wait_for(seen_off(pod, _DELAY_S, grace_s), _MOST_S))
    assert left.complaints == []
    assert left.seconds >= _DELAY_S
    assert (left.told["200"] > 0, left.told["OK"] > 0) == (True, True)


def test_a_load_that_is_cut_short_is_noticed() -> None:
    chart = one({"settings": SETTINGS | {"fronts": 0}})
    with running(chart) as pod:
        killed = _Killed(pod)
        left = asyncio.run(asyncio.wait_for(seen_off(killed, _DELAY_S, 30.0), _MOST_S))
    assert any("exit code -9" in complaint for complaint in left.complaints)


def test_a_probe_that_fails_once_ends_nothing_and_readiness_comes_back() -> None:
    chart = one({"settings": SETTINGS})
    with running(chart) as pod:
        live, ready = pod.probe("livenessProbe"), pod.probe("readinessProbe")
        pod.pause()
        assert [live.ask(), ready.ask(), ready.ask()] == [False, False, False]
        assert (live.has_failed, ready.has_failed) == (False, True)
        assert dataclasses.replace(live, failure_threshold=1).has_failed
        pod.resume()
        assert dataclasses.replace(ready, failure_threshold=60).await_success()
        assert live.ask()
        assert live.failures == 0
        assert classified(pod) == 200


@pytest.mark.parametrize("fronts", [0, 2])
def test_it_needs_no_capability_and_writes_only_to_its_cache(fronts: int) -> None:
    chart = one({"settings": SETTINGS | {"fronts": fronts}})
    with running(chart, restricted) as pod:
        assert pod.root_is_read_only()
        rights = pod.status()
        assert {rights[name].strip("0") for name in ("CapEff", "CapPrm", "CapBnd")} == {""}
        assert rights["NoNewPrivs"] == "1"
        assert classified(pod) == 200
        pod.terminate()
        assert pod.exit_code(_MOST_S) == STOPPED


def test_a_misspelt_variable_ends_it_with_the_reason() -> None:
    fast.leave("starts a server")
    chart = one({"extraEnv": [{"name": "SESAME_DRIAN_DELAY_S", "value": "5"}]})
    with pytest.raises(AssertionError, match="There is no setting SESAME_DRIAN_DELAY_S"), running(chart):
        pass


class _Killed:
    """A pod that is killed where it should be told to leave."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self.http_port, self.grpc_port = pod.http_port, pod.grpc_port

    def terminate(self) -> None:
        self._pod.kill()

    def exit_code(self, limit_s: float) -> int | None:
        return self._pod.exit_code(limit_s)

    def log(self) -> str:
        return self._pod.log()
