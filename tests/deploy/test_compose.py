"""docker-compose.yml: each service is confined and limited, versions are fixed, the guide says what can be set."""

import re
from typing import Any

import pytest
import yaml

from server.settings import Settings
from tests.conftest import REPOSITORY

_FILE = REPOSITORY / "docker-compose.yml"
_TEXT = _FILE.read_text()
_STACK: dict[str, Any] = yaml.safe_load(_TEXT)
_SERVICES: dict[str, dict[str, Any]] = _STACK["services"]
_NO_CLIENT_INSIDE = {"otel-collector"}  # its image holds one program, which asks nobody
_FRONTS_LEAVE_LATER_S = 15


def faults(name: str, service: dict[str, Any]) -> set[str]:
    """What keeps the service from being confined, limited and started again."""
    user = str(service.get("user", ""))
    wrong = {
        "its root can be written to": service.get("read_only") is not True,
        "it has capabilities": service.get("cap_drop") != ["ALL"] or "cap_add" in service,
        "it may get privileges": service.get("security_opt") != ["no-new-privileges:true"] or "privileged" in service,
        "it is root": not re.fullmatch(r"[1-9]\d*:\d+", user),
        "it has no limit": not all(service.get(limit) is not None for limit in ("mem_limit", "cpus", "pids_limit")),
        "it stays away": service.get("restart") != "unless-stopped",
        "nobody asks whether it works": name not in _NO_CLIENT_INSIDE and "healthcheck" not in service,
        "its log grows": "max-size" not in service.get("logging", {}).get("options", {}),
    }
    return {fault for fault, is_so in wrong.items() if is_so}


@pytest.mark.parametrize("name", _SERVICES)
def test_a_service_is_confined_and_limited_and_started_again(name: str) -> None:
    assert faults(name, _SERVICES[name]) == set()


@pytest.mark.parametrize("key", ["read_only", "cap_drop", "security_opt", "user", "pids_limit", "restart", "logging"])
def test_a_service_that_lacks_one_of_it_is_found(key: str) -> None:
    lacking = {name: value for name, value in _SERVICES["prometheus"].items() if name != key}
    assert len(faults("prometheus", lacking)) == 1


def test_images_of_others_have_an_exact_version() -> None:
    images = {name: service["image"] for name, service in _SERVICES.items() if "build" not in service}
    assert images.keys() == {"prometheus", "grafana", "otel-collector"}
    assert all(re.search(r":v?\d+\.\d+\.\d+$", image) for image in images.values())


def test_only_the_server_starts_without_a_profile_and_is_reached_from_other_hosts() -> None:
    profiles = {name: service.get("profiles") for name, service in _SERVICES.items()}
    watch, traces = ["watch"], ["traces"]
    assert profiles == {"sesame": None, "prometheus": watch, "grafana": watch, "otel-collector": traces}
    open_to_all = {
        name for name, each in _SERVICES.items() for port in each.get("ports", []) if not port.startswith("127.0.0.1:")
    }
    assert open_to_all == {"sesame"}


def test_accepted_work_has_the_time_to_be_answered() -> None:
    grace_s = int(_SERVICES["sesame"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > Settings().drain_delay_s + Settings().drain_limit_s + _FRONTS_LEAVE_LATER_S


def test_the_guide_lists_every_variable_with_its_default() -> None:
    of_compose = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", _TEXT))
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \| ([^|]+) \|", (REPOSITORY / "docs/compose.md").read_text(), re.MULTILINE)
    told = {
        name: default.strip("` ")
        for names, defaults in rows
        for name, default in zip(re.findall(r"\w+", names), defaults.split(","), strict=True)
    }
    assert told == of_compose | {"ADMIN_TOKEN_FILE": "none"}


def test_each_file_that_is_mounted_is_there() -> None:
    mounted = {
        volume.split(":")[0] for each in _SERVICES.values() for volume in each.get("volumes", []) if volume[0] == "."
    }
    assert len(mounted) == 6
    assert all((REPOSITORY / path).exists() for path in mounted)


def test_the_image_and_compose_ask_the_same_of_its_health_and_the_image_says_how_it_is_stopped() -> None:
    image = (REPOSITORY / "Dockerfile").read_text()
    assert "STOPSIGNAL SIGTERM" in image
    assert 'CMD ["python", "-m", "server", "ready"]' in image
    assert _SERVICES["sesame"]["healthcheck"]["test"] == ["CMD", "python", "-m", "server", "ready"]


def test_the_file_for_gpus_changes_the_same_service() -> None:
    gpus = yaml.safe_load((REPOSITORY / "docker-compose.gpu.yml").read_text())
    assert gpus["services"].keys() == {"sesame"}


def test_the_collector_takes_traces_and_shows_metrics_where_prometheus_looks() -> None:
    collector = yaml.safe_load((REPOSITORY / "deploy/otel/collector.yml").read_text())
    pipeline = collector["service"]["pipelines"]["traces"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) <= collector[kind].keys()
    (reader,) = collector["service"]["telemetry"]["metrics"]["readers"]
    shown = reader["pull"]["exporter"]["prometheus"]["port"]
    scraped = yaml.safe_load((REPOSITORY / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    (job,) = (job for job in scraped if job["job_name"] == "otel-collector")
    assert job["dns_sd_configs"][0]["port"] == shown


def test_the_image_gets_what_the_dockerfile_copies() -> None:
    let_in = {line.removeprefix("!") for line in _lines(".dockerignore") if line.startswith("!")}
    copied = {word for line in _lines("Dockerfile") if line.startswith("COPY ") for word in line.split()[1:-1]}
    assert copied == let_in


def _lines(file: str) -> list[str]:
    return (REPOSITORY / file).read_text().splitlines()
