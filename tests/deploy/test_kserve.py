"""KServe's runtime and services: their fields, and the container as a plain process on what KServe would mount."""

import copy
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml

from server.host.exit_codes import LOAD_FAILED
from server.pb.inference import grpc_service_pb2 as pb
from server.pb.inference.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from tests.conftest import REPOSITORY
from tests.support import environments, fast
from tests.support.pictures import jpeg
from tests.support.pod import Pod, started

FOLDER = REPOSITORY / "deploy" / "kserve"
MOUNTED = "/mnt/models"
SERVICES = ("inference-service.yaml", "inference-service-grpc.yaml")


def manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return found


def container(name: str) -> dict[str, Any]:
    """The runtime's container for the InferenceService of that name: KServe fills in its JSON in the same way."""
    (found,) = manifest("serving-runtime.yaml")["spec"]["containers"]
    filled: dict[str, Any] = json.loads(json.dumps(found).replace("{{.Name}}", name))
    return filled


@contextmanager
def mounted(name: str, inside: str) -> Iterator[Pod]:
    """The container of the service `name`, with version 1 of a model at `inside` of /mnt/models. It is the demo under
    the name of its folder, as the export would write it.
    """
    fast.leave("starts a server")
    with tempfile.TemporaryDirectory(prefix="sesame-kserve-") as folder:
        models, cache = Path(folder) / "models", Path(folder) / "cache"
        version = Path(shutil.copytree(REPOSITORY / "model_repository" / "demo" / "1", models / inside))
        stated = json.loads((version / "manifest.json").read_text(encoding="utf-8"))
        (version / "manifest.json").write_text(json.dumps(stated | {"name": version.parent.name}), encoding="utf-8")
        with started(container(name), {MOUNTED: models, "/cache": cache}) as pod:
            yield pod


def contents(service: dict[str, Any]) -> str:
    """Where under /mnt/models version 1 comes to lie: from a folder that contains the model's, or from its own."""
    predictor = service["spec"]["predictor"]
    (own,) = predictor.get("storageUris", [{"mountPath": f"{MOUNTED}/{service['metadata']['name']}"}])
    return f"{own['mountPath'].removeprefix(MOUNTED + '/')}/1"


@pytest.mark.parametrize("file", SERVICES)
def test_the_model_answers_by_the_name_of_the_service(file: str) -> None:
    service = manifest(file)
    name = service["metadata"]["name"]
    with mounted(name, contents(service)) as pod:
        assert pod.probe("startupProbe").await_success(), pod.log()
        assert [pod.probe(kind).ask() for kind in ("livenessProbe", "readinessProbe")] == [True, True]
        url = f"http://127.0.0.1:{pod.http_port}/v2/models/{name}"
        assert httpx.get(f"{url}/ready", timeout=60).status_code == 200
        header = "Inference-Header-Content-Length"  # of 0: the whole body is one file, and the answer is binary too
        answer = httpx.post(f"{url}/infer", content=jpeg(), headers={header: "0"}, timeout=60)
        assert answer.status_code == 200
        assert json.loads(answer.content[: int(answer.headers[header])])["model_name"] == name
        with grpc.insecure_channel(f"127.0.0.1:{pod.grpc_port}") as channel:
            ready = GRPCInferenceServiceStub(channel).ModelReady(pb.ModelReadyRequest(name=name), timeout=60)  # type: ignore[no-untyped-call]
            assert ready.ready
        pod.terminate()
        assert pod.exit_code(float(service["spec"]["predictor"]["terminationGracePeriodSeconds"])) == 0


@pytest.mark.parametrize(
    ("name", "inside", "reason"),
    [
        ("flowers", "demo/1", "The default model 'flowers' is not among demo"),
        ("flowers", "1", "holds no bundle"),
    ],
    ids=["another model", "the model's own folder"],
)
def test_a_storage_that_does_not_fit_ends_the_server_with_the_reason(name: str, inside: str, reason: str) -> None:
    with pytest.raises(AssertionError) as ended, mounted(name, inside):
        pass
    assert reason in str(ended.value)
    assert f"exit code {LOAD_FAILED}" in str(ended.value)


@pytest.mark.parametrize("file", SERVICES)
def test_the_grace_period_is_above_what_leaving_takes(file: str) -> None:
    options = dict(word.split("=", 1) for word in container("flowers")["args"])
    drain_s = int(options["--drain-delay-s"]) + int(options["--drain-limit-s"])
    assert manifest(file)["spec"]["predictor"]["terminationGracePeriodSeconds"] > drain_s + 15


def test_kserve_knows_every_field() -> None:
    manifests = [manifest(name) for name in ("serving-runtime.yaml", *SERVICES)]
    wrong = copy.deepcopy(manifests[0])
    wrong["spec"]["containers"][0]["arguments"] = []
    text = environments.run(
        "kserve", "-m", "tests.support.kserve_fields_program", stdin=json.dumps([*manifests, wrong])
    )
    assert json.loads(text.splitlines()[-1]) == ["ClusterServingRuntime.spec.containers[0].arguments"]
