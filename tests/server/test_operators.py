"""What operators and tools read: metrics, models, labels, the description of the API, reflection."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from bundle import files
from server.openinference.statistics import statistics
from server.pb.sesame.v1 import classifier_pb2 as pb
from tests.support.faces import Running, running
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server(demo: Path) -> AsyncIterator[Running]:
    async with running(demo.parents[1]) as server:
        yield server


async def test_metrics_count_images_batches_stages_and_errors(server: Running) -> None:
    for photo in (jpeg(), jpeg(1), b"GIF89a"):
        await server.rest.classify(photo)
    await server.rpc.classify(jpeg())
    assert await server.metric("sesame_images_total", 'outcome="ok"') == 3
    assert await server.metric("sesame_images_total", 'outcome="unsupported_type"') == 1
    assert await server.metric("sesame_requests_total", 'face="rest",outcome="ok"') == 2
    assert await server.metric("sesame_requests_total", 'face="rest",outcome="unsupported_type"') == 1
    assert await server.metric("sesame_requests_total", 'face="grpc",outcome="ok"') == 1
    assert await server.metric("sesame_batch_images_sum") == 3
    for stage in ("decode", "queue", "infer", "total"):
        assert await server.metric("sesame_stage_seconds_count", f'stage="{stage}"') == 3
    assert await server.metric("sesame_model_ready", 'model="demo"') == 1
    assert await server.metric("sesame_permits_taken") == 0


async def test_the_same_numbers_have_tritons_names(server: Running) -> None:
    for photo in (jpeg(), jpeg(1), b"GIF89a"):
        await server.rest.classify(photo)
    await server.rpc.classify(jpeg())
    assert await server.metric("nv_inference_request_success", 'model="demo",version="1"') == 3
    assert await server.metric("nv_inference_request_failure", 'reason="OTHER"') == 1
    assert await server.metric("nv_inference_request_failure") == 1
    assert await server.metric("nv_inference_count") == 3
    assert await server.metric("nv_inference_exec_count") == await server.metric("sesame_batch_images_count")
    assert await server.metric("nv_inference_pending_request_count") == 0
    seconds = await server.metric("sesame_stage_seconds_sum", 'stage="infer"')
    assert await server.metric("nv_inference_compute_infer_duration_us") == pytest.approx(seconds * 1e6, abs=1)
    (model,) = statistics((await server.rest.http.get("/metrics")).text)
    assert (model["name"], model["version"], model["inference_count"]) == ("demo", "1", 3)
    last = await server.metric("sesame_last_batch_timestamp_seconds")
    assert model["last_inference"] == round(last * 1e3)


async def test_a_model_reports_its_input_its_engine_and_its_parity(server: Running, demo: Path) -> None:
    manifest = files.read(demo).manifest
    (model,) = (await server.rest.http.get("/models/demo")).json()["models"]
    assert (model["model"], model["version"], model["state"]) == ("demo", "1", "READY")
    assert (model["architecture"], model["parameters"]) == ("seresnet18", manifest.architecture.parameters)
    assert model["labels"] == {"set": "tiny-imagenet-200", "classes": 200}
    assert model["input"] == {
        "height": 64,
        "width": 64,
        "resize": "short_side",
        "resize_to": 64,
        "interpolation": "bilinear",
    }
    assert (model["engine"]["name"], model["engine"]["precision"]) == ("onnxruntime-cpu", "fp32")
    assert model["engine"]["batch"] in (1, 2, 4, 8, 16, 32)
    assert model["parity"]["images"] == 32
    assert model["parity"]["max_dp"] <= 1e-4
    (row,) = (await server.rpc.stub.ListModels(pb.ListModelsRequest())).models
    assert (row.classes, row.label_set, row.height, row.engine) == (200, "tiny-imagenet-200", 64, "onnxruntime-cpu")


async def test_labels_come_in_output_order(server: Running, demo: Path) -> None:
    rows = (await server.rest.http.get("/models/demo/labels")).json()["labels"]
    assert [(row["index"], row["id"], row["label"]) for row in rows] == [
        (index, label.id, label.name) for index, label in enumerate(files.read(demo).labels)
    ]


async def test_grpc_clients_can_ask_what_there_is(server: Running) -> None:
    def services() -> set[str]:
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            return set(ProtoReflectionDescriptorDatabase(channel).get_services())

    assert await asyncio.to_thread(services) >= {"sesame.v1.ImageClassifier", "grpc.health.v1.Health"}
    for service in ("", "sesame.v1.ImageClassifier"):
        answer = await server.rpc.health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
