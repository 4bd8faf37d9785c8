"""The error tables and the settings: complete, and the same in code and docs/."""

import dataclasses
import re
from pathlib import Path

import pytest

from server import options
from server.errors import PER_IMAGE, Code
from server.rest import problems
from server.rpc import status as rpc
from server.settings import Settings, SettingsError

DOCS = Path(__file__).parents[3] / "docs"


def test_every_error_has_an_http_status_and_a_grpc_status() -> None:
    assert problems.STATUS.keys() == set(Code)
    assert rpc.STATUS.keys() == set(Code) - rpc.HTTP_ONLY


def test_the_guide_lists_every_error_with_its_statuses() -> None:
    rows = re.findall(
        r"^\| [^|]+ \| `(\w+)` \| (\d+)[^|]* \| (\w+|–) \|$", (DOCS / "rest.md").read_text(), re.MULTILINE
    )
    assert {(code, int(http), grpc) for code, http, grpc in rows} == {
        (code.value, int(problems.STATUS[code]), rpc.STATUS[code].name if code in rpc.STATUS else "–") for code in Code
    }


def test_errors_of_one_image_are_those_that_an_image_can_have() -> None:
    assert {problems.STATUS[code] for code in PER_IMAGE} == {413, 415, 422}


def test_the_guide_lists_every_setting_with_its_default() -> None:
    rows = dict(
        re.findall(r"^\| `(\w+)` \| `?([^|`]*)`? \| [^|]+ \|$", (DOCS / "settings.md").read_text(), re.MULTILINE)
    )
    expected = {field.name: str(field.default) for field in dataclasses.fields(Settings)}
    assert {name: rows.get(name, "not there").strip() for name in expected} == expected


def test_options_win_over_the_environment_and_both_over_defaults() -> None:
    environment = {"SESAME_HTTP_PORT": "7", "SESAME_MAX_BATCH": "5", "HOME": "/"}
    read = options.read({"http_port": "9", "host": None}, environment)
    assert (read.http_port, read.max_batch, read.host) == (9, 5, "127.0.0.1")


def test_switches_are_read() -> None:
    assert options.read({}, {"SESAME_KEEP_GOING": "true"}).keep_going
    assert not options.read({}, {"SESAME_KEEP_GOING": "0"}).keep_going


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("http_port", "70000", "http_port must be from 0 to 65535, not 70000"),
        ("max_batch", "0", "max_batch must be at least 1"),
        ("fronts", "65", "fronts must be from 0 to 64, not 65"),
        ("fronts", "some", "fronts must be auto or a whole number, not 'some'"),
        ("max_batch", "many", "max_batch must be a whole number, not 'many'"),
        ("keep_going", "perhaps", "keep_going must be true or false"),
        ("log_level", "loud", "log_level must be debug, info, warning or error"),
        ("log_format", "xml", "log_format must be text or json"),
        ("trace_share", "1.5", "trace_share must be from 0 to 1, not 1.5"),
        ("trace_share", "nan", "trace_share must be from 0 to 1, not nan"),
        ("trace_share", "half", "trace_share must be a number, not 'half'"),
        ("otlp_endpoint", "localhost:4318", "otlp_endpoint must be http://HOST:PORT"),
        ("otlp_endpoint", "ftp://localhost", "otlp_endpoint must be http://HOST:PORT"),
        ("otlp_endpoint", "http://localhost:99999", "otlp_endpoint must be http://HOST:PORT"),
        ("otlp_endpoint", "http://name:secret@localhost:4318", "otlp_endpoint must be http://HOST:PORT"),
        ("otlp_endpoint", "http://localhost/a\rb", "otlp_endpoint must be http://HOST:PORT"),
        ("max_pixels", "900000000", "max_pixels must be from 1 to 89478485"),
        ("queue_images", "8", "queue_images must be at least max_images"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_with_what_it_may_be(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        options.read({name: value}, {})


def test_traces_need_a_package_and_the_error_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options.read({"otlp_endpoint": "https://[::1]:4318/path"}, {}).otlp_endpoint
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="pip install 'sesame\\[traces\\]'"):
        options.read({"otlp_endpoint": "http://localhost:4318"}, {})


def test_what_kubernetes_sets_for_services_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    of_services = {
        "SESAME_PORT": "tcp://10.0.0.1:8000",
        "SESAME_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "SESAME_PORT_8000_TCP_ADDR": "10.0.0.1",
        "SESAME_PORT_8000_TCP_PORT": "8000",
        "SESAME_PORT_8000_TCP_PROTO": "tcp",
        "SESAME_SERVICE_HOST": "10.0.0.1",
        "SESAME_SERVICE_PORT": "8000",
        "SESAME_SERVICE_PORT_GRPC": "8001",
        "SESAME_CANARY_PORT": "udp://10.0.0.1:8000",
        "SESAME_CANARY_PORT_8000_UDP_ADDR": "10.0.0.1",
        "SESAME_CANARY_SERVICE_HOST": "10.0.0.1",
        "SESAME_CANARY_SERVICE_PORT_HTTP": "8000",
    }
    assert options.read({}, of_services) == Settings()
    assert not caplog.records


def test_a_services_address_is_no_port_of_ours_and_this_is_told(caplog: pytest.LogCaptureFixture) -> None:
    environment = {"SESAME_HTTP_PORT": "tcp://10.0.0.1:80", "SESAME_GRPC_PORT": "7"}
    read = options.read({}, environment)
    assert (read.http_port, read.grpc_port) == (8000, 7)
    assert "SESAME_HTTP_PORT=tcp://10.0.0.1:80 is ignored" in caplog.text


@pytest.mark.parametrize("name", ["SESAME_HTP_PORT", "SESAME_PORT", "SESAME_SERVICES", "SESAME_PORTS"])
def test_a_misspelt_port_is_not_taken_for_a_services(name: str) -> None:
    with pytest.raises(SettingsError, match=f"no setting {name}"):
        options.read({}, {name: "8000"})


def test_texts_are_read_without_the_white_space_around_them() -> None:
    assert options.read({}, {"SESAME_ADMIN_TOKEN": " 0123456789abcdef\n"}).admin_token == "0123456789abcdef"
    with pytest.raises(SettingsError, match="at least 16 characters"):
        options.read({}, {"SESAME_ADMIN_TOKEN": "secret" + " " * 16})


def test_a_misspelt_variable_is_not_passed_over() -> None:
    with pytest.raises(SettingsError, match="no setting SESAME_HTTPPORT"):
        options.read({}, {"SESAME_HTTPPORT": "1"})
