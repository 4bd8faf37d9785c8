"""Claims: what is said of Sesame on Ray Serve, each seen on a cluster of its own."""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import httpx

from bench.ray_serve.callers import Answer, Callers, by_status, failed, small_photos
from bench.ray_serve.cluster import ENGINE, REPOSITORY, Cluster, cluster
from bench.running import ServerFailed, running
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.pb.sesame.v1 import classifier_pb2_grpc as pb_grpc

_CALLERS = 16
_IMAGES = 16
_SETTLE_S, _SCALE_S, _LOOK_S = 3.0, 120.0, 0.1
_QUICK = {"upscale_delay_s": 1, "downscale_delay_s": 3, "look_back_period_s": 2, "target_ongoing_requests": 4}

Best = list[tuple[int, float]]


class Disagrees(Exception):
    """Two servers, or two faces of one, gave different answers."""


def same_answers(photos: Sequence[Path]) -> dict[str, Any]:
    """The five best classes of each photo over both faces are those of `python -m server`. Raises Disagrees."""
    encoded = [photo.read_bytes() for photo in photos]
    with running(REPOSITORY, options=["--fronts=0", *(f"--{name}={value}" for name, value in ENGINE.items())]) as bare:
        expected = [_rest(bare.url, photo) for photo in encoded]
    with cluster(photos[0], {"autoscaling_config": None, "num_replicas": 1}, {}) as ray:
        rest = [_rest(ray.url, photo) for photo in encoded]
        rpc = [_rpc(ray.grpc, photo) for photo in encoded]
        errors = {"rest": _rest_error(ray.url), "grpc": _rpc_error(ray.grpc)}
    found, wanted = [*rest, *rpc], expected * 2
    if [[index for index, _ in best] for best in found] != [[index for index, _ in best] for best in wanted]:
        raise Disagrees("The five best classes are not those of 'python -m server'.")
    pairs = [pair for both in zip(found, wanted, strict=True) for pair in zip(*both, strict=True)]
    max_dp = max(abs(ours[1] - theirs[1]) for ours, theirs in pairs)
    return {"photos": len(photos), "max_dp": max_dp, "not_a_photo": errors}


def scaling(photo: Path) -> dict[str, Any]:
    """From one replica to two under load, and back. Raises ServerFailed where that takes too long."""
    scale = {"min_replicas": 1, "max_replicas": 2, **_QUICK}
    body, content_type = small_photos(photo, _IMAGES)

    async def run(ray: Cluster) -> dict[str, Any]:
        async with Callers(ray.url, body, _CALLERS, content_type) as callers:
            up_s = await asyncio.to_thread(ray.await_running, 2, _SCALE_S)
            await asyncio.sleep(_SETTLE_S)
        async with Callers(ray.url, body, 1, content_type) as last:
            down_s = await asyncio.to_thread(ray.await_running, 1, _SCALE_S)
        answers = by_status([*callers.answers, *last.answers])
        return {"config": scale, "up_s": round(up_s, 1), "down_s": round(down_s, 1), "answers": answers}

    with cluster(photo, {"autoscaling_config": scale}, {}) as ray:
        return asyncio.run(run(ray))


def death(photo: Path) -> dict[str, Any]:
    """A replica of two is killed while both work: which requests are lost, and how long until there are two again.

    Raises ServerFailed where it had nothing under way: then nothing has been shown.
    """
    body, content_type = small_photos(photo, _IMAGES)

    async def run(ray: Cluster) -> dict[str, Any]:
        victim = min(ray.replicas())
        async with Callers(ray.url, body, _CALLERS, content_type) as callers:
            await asyncio.sleep(_SETTLE_S)
            killed_s = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            await asyncio.sleep(_SETTLE_S)
            await asyncio.to_thread(ray.await_running, 2, _SCALE_S)
            replaced_s = time.monotonic() - killed_s
        if not failed(callers.answers):
            raise ServerFailed("The replica that was killed had nothing under way: try again.")
        return {"callers": _CALLERS, "replaced_after_s": round(replaced_s, 1), **_lost(callers.answers, killed_s)}

    with cluster(photo, {"autoscaling_config": None, "num_replicas": 2}, {}) as ray:
        ray.await_running(2, _SCALE_S)
        return asyncio.run(run(ray))


def hanging(photo: Path) -> dict[str, Any]:
    """A replica of two stops in the middle of its work (SIGSTOP): Ray finds that by its health check.

    Raises ServerFailed where Ray does not replace it.
    """
    quick = {"health_check_period_s": 1, "health_check_timeout_s": 2, "graceful_shutdown_timeout_s": 5}
    body, content_type = small_photos(photo, _IMAGES)

    async def run(ray: Cluster) -> dict[str, Any]:
        victim = min(ray.replicas())
        async with Callers(ray.url, body, _CALLERS, content_type) as callers:
            await asyncio.sleep(_SETTLE_S)
            stopped_s = time.monotonic()
            os.kill(victim, signal.SIGSTOP)
            while victim in ray.replicas():
                await asyncio.sleep(_LOOK_S)
                if time.monotonic() - stopped_s > _SCALE_S:
                    raise ServerFailed("The replica that hangs is not replaced.")
            gone_s = time.monotonic() - stopped_s
            await asyncio.to_thread(ray.await_running, 2, _SCALE_S)
        return {"config": quick, "ended_after_s": round(gone_s, 1), **_lost(callers.answers, stopped_s)}

    with cluster(photo, {"autoscaling_config": None, "num_replicas": 2, **quick}, {}) as ray:
        ray.await_running(2, _SCALE_S)
        return asyncio.run(run(ray))


def _lost(answers: Sequence[Answer], since_s: float) -> dict[str, Any]:
    """Of a replica that was killed or stopped at that time."""
    lost = failed(answers)
    return {
        "answers": by_status(answers),
        "under_way_then": sum(each.began_s <= since_s <= each.ended_s for each in answers),
        "lost": len(lost),
        "lost_that_were_under_way": sum(each.began_s <= since_s <= each.ended_s for each in lost),
        "last_loss_after_s": round(max((each.ended_s - since_s for each in lost), default=0.0), 3),
        "said": sorted({next(iter(each.body.splitlines()), "") for each in lost}),
    }


def overload(photo: Path) -> dict[str, Any]:
    """Who refuses, and with what: the replica, whose queue is full, and Ray's proxy, whose queue is full."""
    one = {"autoscaling_config": None, "num_replicas": 1}
    tight = {**one, "max_ongoing_requests": 1, "max_queued_requests": 1}
    found: dict[str, Any] = {}
    with cluster(photo, one, {"max_images": 4, "queue_images": 4}) as ray:
        body, content_type = small_photos(photo, 4)
        found["replica"] = asyncio.run(_answers(ray, body, content_type))
    with cluster(photo, tight, {}) as ray:
        found["proxy"] = asyncio.run(_answers(ray, photo.read_bytes()))
        found["proxy_grpc"] = asyncio.run(_rpc_answers(ray, photo.read_bytes()))
    with cluster(photo, {**tight, "backpressure_config": None}, {}) as ray:
        found["proxy_without_backpressure_config"] = asyncio.run(_answers(ray, photo.read_bytes()))
    if not any("429" in status for status in found["replica"]):
        raise ServerFailed(f"The replica refused nothing: {found['replica']}")
    return found


async def _answers(ray: Cluster, body: bytes, content_type: str = "image/jpeg") -> dict[str, int]:
    async with Callers(ray.url, body, _CALLERS, content_type) as callers:
        await asyncio.sleep(_SETTLE_S)
    return by_status(callers.answers)


async def _rpc_answers(ray: Cluster, photo: bytes) -> dict[str, int]:
    """How many of calls at once ended with which status and with which keys of trailing metadata."""
    found: dict[str, int] = {}
    async with grpc.aio.insecure_channel(ray.grpc) as channel:
        stub = pb_grpc.ImageClassifierStub(channel)  # type: ignore[no-untyped-call]
        calls = [stub.Classify(pb.ClassifyRequest(image=photo), timeout=60) for _ in range(8 * _CALLERS)]
        for ended in await asyncio.gather(*calls, return_exceptions=True):
            words = "OK"
            if isinstance(ended, grpc.aio.AioRpcError):
                words = " ".join([ended.code().name, *sorted(str(key) for key, _ in ended.trailing_metadata())])
            found[words] = found.get(words, 0) + 1
    return found


def _rest(url: str, photo: bytes) -> Best:
    answer = httpx.post(f"{url}/classify", content=photo, timeout=60).raise_for_status().json()
    return [(each["index"], each["probability"]) for each in answer["predictions"]]


def _rpc(address: str, photo: bytes) -> Best:
    with grpc.insecure_channel(address) as channel:
        stub = pb_grpc.ImageClassifierStub(channel)  # type: ignore[no-untyped-call]
        answer = stub.Classify(pb.ClassifyRequest(image=photo), timeout=60)
    return [(each.index, each.probability) for each in answer.predictions]


def _rest_error(url: str) -> str:
    answer = httpx.post(f"{url}/classify", content=b"no photo", timeout=60)
    return f"{answer.status_code} {answer.json()['code']}"


def _rpc_error(address: str) -> str:
    try:
        _rpc(address, b"no photo")
    except grpc.RpcError as error:
        codes = [str(each.value) for each in error.trailing_metadata() if each.key == "sesame-code"]
        return " ".join([error.code().name, *codes])
    raise Disagrees("Bytes that are no photo were classified over gRPC.")
