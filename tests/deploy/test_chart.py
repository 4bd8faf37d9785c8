"""The Helm chart, rendered by Helm's own library: manifests that Kubernetes knows, and values that are refused."""

import json
import re
from typing import Any

import pytest
import yaml

from server.settings import Settings
from tests.conftest import REPOSITORY
from tests.deploy.settings_schema import OF_THE_CHART, SCHEMA, with_settings
from tests.support.chart import Rendered, Values, one, rendered

ALL: Values = {
    "fullnameOverride": "sesame",
    "image": {"repository": "registry.example/sesame", "tag": "7", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "settings": {"watch_s": 30, "receive_bytes": 1 << 31, "keep_going": True, "shared_memory": "sesame-"},
    "modelRepository": {"source": "pull", "url": "s3://models/repository", "pullImage": "registry.example/export:7"},
    "cache": {"claim": "cache"},
    "gpu": {"count": 1},
    "runtimeClassName": "nvidia",
    "adminToken": {"value": "0123456789abcdef"},
    "secretFiles": [{"name": "keys", "secret": "sesame-keys"}],
    "extraPorts": [{"name": "admin", "port": 8002}],
    "extraEnv": [{"name": "OTEL_SERVICE_NAME", "value": "sesame"}],
    "extraEnvFrom": [{"secretRef": {"name": "bucket"}}],
    "extraContainers": [
        {"name": "client", "image": "client:1", "volumeMounts": [{"name": "shm", "mountPath": "/shm"}]}
    ],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "podLabels": {"team": "photos"},
    "podAnnotations": {"note": "none"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
    "serviceAccount": {"annotations": {"role": "reader"}},
    "service": {"type": "LoadBalancer", "annotations": {"note": "none"}},
    "autoscaling": {"kind": "hpa"},
    "serviceMonitor": {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "port": "admin",
        "endpoint": {"authorization": {"credentials": {"name": "prometheus", "key": "key"}}},
    },
    "networkPolicy": {"enabled": True, "from": [{"podSelector": {}}], "egress": [{"ports": [{"port": 4317}]}]},
    "ingress": {"enabled": True, "className": "nginx", "host": "photos.example", "tlsSecret": "tls"},
    "gateway": {
        "http": {"enabled": True, "parentRefs": [{"name": "gateway"}], "hostnames": ["photos.example"]},
        "grpc": {"enabled": True, "parentRefs": [{"name": "gateway"}], "hostnames": ["grpc.photos.example"]},
    },
}
"""Every part of the chart at once."""

REFUSED: dict[str, tuple[Values, str]] = {
    "a setting that there is not": ({"settings": {"drian_delay_s": 5}}, "drian_delay_s"),
    "a setting of the chart": ({"settings": {"http_port": 80}}, "http_port"),
    "a setting out of its range": ({"settings": {"drain_delay_s": 5000}}, "drain_delay_s"),
    "a choice that there is not": ({"settings": {"log_level": "loud"}}, "log_level"),
    "a value that there is not": ({"replica": 3}, "replica"),
    "a short token": ({"adminToken": {"value": "short"}}, "adminToken"),
    "a URL that is missing": ({"modelRepository": {"source": "url"}}, "url"),
    "a claim that is missing": ({"modelRepository": {"source": "claim"}}, "claim"),
    "a source that there is not": ({"modelRepository": {"source": "bucket"}}, "source"),
    "an ingress without a host": ({"ingress": {"enabled": True}}, "host"),
    "a route without a gateway": ({"gateway": {"grpc": {"enabled": True}}}, "parentRefs"),
    "a scaler that there is not": ({"autoscaling": {"kind": "vpa"}}, "kind"),
    "a grace period that cuts work short": ({"terminationGracePeriodSeconds": 60}, "drain_limit_s"),
}


@pytest.fixture(scope="module")
def default() -> Rendered:
    return one({})


@pytest.fixture(scope="module")
def everything() -> Rendered:
    return one(ALL)


def test_kubernetes_knows_every_field(default: Rendered, everything: Rendered) -> None:
    assert (default.complaints, everything.complaints) == ([], [])
    assert {name.split("/")[0] for name in default.manifests} == {
        "Deployment",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    }
    assert {name.split("/")[0] for name in everything.manifests} - {
        name.split("/")[0] for name in default.manifests
    } == {
        "GRPCRoute",
        "HTTPRoute",
        "HorizontalPodAutoscaler",
        "Ingress",
        "NetworkPolicy",
        "Secret",
        "ServiceMonitor",
    }


@pytest.mark.parametrize(
    ("values", "word"),
    [({"podSecurityContext": {"runAsNobody": True}}, "runAsNobody"), ({"strategy": {"type": 5}}, "strategy")],
)
def test_a_field_that_kubernetes_does_not_know_is_noticed(values: Values, word: str) -> None:
    assert any(word in complaint for complaint in one(values).complaints)


@pytest.mark.parametrize("why", REFUSED)
def test_a_wrong_value_is_refused_by_its_name(why: str) -> None:
    values, named = REFUSED[why]
    (found,) = rendered(values)
    assert named in found.refused


def test_the_values_in_the_guide_are_accepted() -> None:
    page = (REPOSITORY / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    told = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    assert len(told) == 2
    assert [(found.refused, found.complaints) for found in rendered(*told)] == [("", [])] * len(told)


def test_the_schema_has_every_setting_of_the_server() -> None:
    """If this fails, run `make chart`."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert with_settings(schema) == schema
    assert set(Settings.__dataclass_fields__) >= OF_THE_CHART


def test_settings_reach_the_server_as_they_are_written(everything: Rendered) -> None:
    settings = {"SESAME_WATCH_S": "30", "SESAME_RECEIVE_BYTES": "2147483648", "SESAME_KEEP_GOING": "true"}
    assert settings.items() <= everything.environment.items()


def test_a_server_that_may_wait_for_models_is_not_ended_at_its_start(default: Rendered, everything: Rendered) -> None:
    asked = [found.container["startupProbe"]["httpGet"]["path"] for found in (default, everything)]
    assert asked == ["/readyz", "/livez"]


def test_the_grace_period_is_above_what_leaving_takes() -> None:
    default, longer = rendered({}, {"settings": {"drain_delay_s": 100, "drain_limit_s": 200}})
    assert default.pod["terminationGracePeriodSeconds"] > 15 + 30 + 15
    assert longer.pod["terminationGracePeriodSeconds"] > 100 + 200 + 15


def test_the_pod_is_restricted(default: Rendered, everything: Rendered) -> None:
    for found in (default, everything):
        containers = [*found.pod.get("initContainers", []), found.container]
        own = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert [container["securityContext"] for container in containers] == [own] * len(containers)
        shared = found.pod["securityContext"]
        assert (shared["runAsNonRoot"], shared["runAsUser"]) == (True, 10001)
        assert shared["seccompProfile"] == {"type": "RuntimeDefault"}
        assert (found.pod["enableServiceLinks"], found.pod["automountServiceAccountToken"]) == (False, False)


@pytest.mark.parametrize(
    ("repository", "served", "pulls"),
    [
        ({"source": "image", "path": "/bundles"}, "/bundles", False),
        ({"source": "claim", "claim": "bundles", "subPath": "served"}, "/models", False),
        ({"source": "url", "url": "https://models.example/"}, "https://models.example/", False),
        ({"source": "pull", "url": "s3://models/"}, "/models", True),
    ],
)
def test_bundles_come_from_where_the_values_say(repository: dict[str, str], served: str, pulls: bool) -> None:
    found = one({"modelRepository": repository})
    assert found.environment["SESAME_MODEL_REPOSITORY"] == served
    mounted = {mount["mountPath"]: mount for mount in found.container["volumeMounts"]}
    assert ("/models" in mounted) == (served == "/models")
    assert mounted.get("/models", {"readOnly": True})["readOnly"]
    commands = [container["command"] for container in found.pod.get("initContainers", [])]
    assert commands == [["python", "-m", "export", "pull", repository.get("url"), "/models"]] * pulls
    assert found.complaints == []


def test_a_gpu_brings_its_image_resource_and_toleration() -> None:
    found = one({"gpu": {"count": 2}})
    assert found.container["image"].endswith("-gpu")
    assert found.container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert found.pod["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_the_token_comes_from_a_secret_of_the_chart_or_of_the_user(everything: Rendered) -> None:
    own = one({"adminToken": {"secret": "mine", "key": "admin"}})
    for found, secret, key in ((everything, "sesame-admin", "token"), (own, "mine", "admin")):
        (variable,) = (each for each in found.container["env"] if each["name"] == "SESAME_ADMIN_TOKEN")
        assert variable["valueFrom"]["secretKeyRef"] == {"name": secret, "key": key}
    assert "Secret/sesame-admin" not in own.manifests


def test_no_token_is_asked_for_where_none_is_given(default: Rendered) -> None:
    assert "SESAME_ADMIN_TOKEN" not in {each["name"] for each in default.container["env"]}


@pytest.mark.parametrize(("kind", "manifest"), [("hpa", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")])
def test_whoever_scales_sets_the_number_of_pods_alone(kind: str, manifest: str) -> None:
    found = one({"autoscaling": {"kind": kind, "minReplicas": 3, "drainSeconds": "250m"}})
    assert "replicas" not in found.spec("Deployment")
    text = json.dumps(found.spec(manifest))
    assert "sesame_drain_seconds" in text
    assert '"250m"' in text if kind == "hpa" else '"0.25"' in text


def test_the_services_lead_to_the_ports_of_the_container(everything: Rendered) -> None:
    open_ports = {port["name"] for port in everything.container["ports"]}
    for name in ("sesame", "sesame-headless"):
        spec: dict[str, Any] = everything.spec("Service", name)
        assert {port["targetPort"] for port in spec["ports"]} <= open_ports
        assert spec["selector"].items() <= everything.spec("Deployment")["template"]["metadata"]["labels"].items()
    assert everything.spec("Service", "sesame-headless")["clusterIP"] == "None"


def test_prometheus_reads_each_pod_once(everything: Rendered) -> None:
    chosen = everything.spec("ServiceMonitor")["selector"]["matchLabels"]
    labels = [everything.manifests[f"Service/{name}"]["metadata"]["labels"] for name in ("sesame", "sesame-headless")]
    assert [chosen.items() <= each.items() for each in labels] == [True, False]
    (endpoint,) = everything.spec("ServiceMonitor")["endpoints"]
    assert endpoint["port"] in {port["name"] for port in everything.spec("Service")["ports"]}


def test_shared_memory_is_mounted_only_for_clients_that_use_it(default: Rendered, everything: Rendered) -> None:
    mounts = [{mount["mountPath"] for mount in found.container["volumeMounts"]} for found in (default, everything)]
    assert ["/dev/shm" in paths for paths in mounts] == [False, True]


def test_the_notes_say_what_is_still_to_be_done(default: Rendered, everything: Rendered) -> None:
    assert "push it to your registry" in default.notes
    assert "push it to your registry" not in everything.notes
