"""The error tables and the settings: complete, and the same in code and README."""

import dataclasses
import re
from pathlib import Path

import pytest

from server import settings
from server.errors import PER_IMAGE, Code
from server.rest import problems
from server.rpc import status as rpc
from server.settings import Settings, SettingsError

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_every_error_has_an_http_status_and_a_grpc_status() -> None:
    assert problems.STATUS.keys() == set(Code)
    assert rpc.STATUS.keys() == set(Code) - rpc.HTTP_ONLY


def test_the_readme_lists_every_error_with_its_statuses() -> None:
    rows = re.findall(r"^\| [^|]+ \| `(\w+)` \| (\d+)[^|]* \| (\w+|–) \|$", README, re.MULTILINE)
    assert {(code, int(http), grpc) for code, http, grpc in rows} == {
        (code.value, int(problems.STATUS[code]), rpc.STATUS[code].name if code in rpc.STATUS else "–") for code in Code
    }


def test_errors_of_one_image_are_those_that_an_image_can_have() -> None:
    assert {problems.STATUS[code] for code in PER_IMAGE} == {413, 415, 422}


def test_the_readme_lists_every_setting_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]*)`? \| [^|]+ \|$", README, re.MULTILINE))
    expected = {field.name: str(field.default) for field in dataclasses.fields(Settings)}
    assert {name: rows.get(name, "not there").strip() for name in expected} == expected


def test_options_win_over_the_environment_and_both_over_defaults() -> None:
    environment = {"SESAME_HTTP_PORT": "7", "SESAME_MAX_BATCH": "5", "HOME": "/"}
    read = settings.read({"http_port": "9", "host": None}, environment)
    assert (read.http_port, read.max_batch, read.host) == (9, 5, "127.0.0.1")


def test_switches_are_read() -> None:
    assert settings.read({}, {"SESAME_KEEP_GOING": "true"}).keep_going
    assert not settings.read({}, {"SESAME_KEEP_GOING": "0"}).keep_going


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("http_port", "70000", "http_port must be from 0 to 65535, not 70000"),
        ("max_batch", "0", "max_batch must be at least 1"),
        ("max_batch", "many", "max_batch must be a whole number, not 'many'"),
        ("keep_going", "perhaps", "keep_going must be true or false"),
        ("log_level", "loud", "log_level must be debug, info, warning or error"),
        ("max_pixels", "900000000", "max_pixels must be from 1 to 89478485"),
        ("queue_images", "8", "queue_images must be at least max_images"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_with_what_it_may_be(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        settings.read({name: value}, {})


def test_a_misspelt_variable_is_not_passed_over() -> None:
    with pytest.raises(SettingsError, match="no setting SESAME_HTTPPORT"):
        settings.read({}, {"SESAME_HTTPPORT": "1"})
