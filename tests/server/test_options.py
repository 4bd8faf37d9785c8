"""Old names of settings work for one release, with a warning."""

from pathlib import Path

import pytest

from server import options
from server.settings import SettingsError


@pytest.mark.parametrize(
    ("given", "environment", "warning"),
    [
        ({"bundles": "somewhere"}, {}, "--bundles is now named --model-repository"),
        ({}, {"SESAME_BUNDLES": "somewhere"}, "SESAME_BUNDLES is now named SESAME_MODEL_REPOSITORY"),
    ],
)
def test_the_old_name_of_the_model_repository_still_works_with_a_warning(
    given: dict[str, str], environment: dict[str, str], warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert options.read(given, environment).model_repository == Path("somewhere")
    assert warning in caplog.text


def test_the_new_name_is_read_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    read = options.read({"bundles": None}, {"SESAME_MODEL_REPOSITORY": "somewhere"})
    assert read.model_repository == Path("somewhere")
    assert not caplog.records


def test_an_option_counts_before_the_environment_whatever_their_names() -> None:
    both = ({"bundles": "option"}, {"SESAME_MODEL_REPOSITORY": "environment"})
    assert options.read(*both).model_repository == Path("option")
    both = ({"model_repository": "option"}, {"SESAME_BUNDLES": "environment"})
    assert options.read(*both).model_repository == Path("option")


@pytest.mark.parametrize(
    ("given", "environment", "cure"),
    [
        ({"bundles": "a", "model_repository": "b"}, {}, "give --model-repository alone"),
        ({}, {"SESAME_BUNDLES": "a", "SESAME_MODEL_REPOSITORY": "b"}, "give SESAME_MODEL_REPOSITORY alone"),
    ],
)
def test_the_old_name_and_the_new_one_together_are_an_error(
    given: dict[str, str], environment: dict[str, str], cure: str
) -> None:
    with pytest.raises(SettingsError, match=cure):
        options.read(given, environment)


def test_a_file_may_hold_the_admin_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef\n")
    for given, environment in (
        ({"admin_token_file": str(tmp_path / "token")}, {}),
        ({}, {"SESAME_ADMIN_TOKEN_FILE": str(tmp_path / "token")}),
    ):
        assert options.read(given, environment).admin_token == "0123456789abcdef"


def test_an_empty_file_holds_no_token_and_hides_none(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    environment = {"SESAME_ADMIN_TOKEN_FILE": str(tmp_path / "empty")}
    assert options.read({}, environment).admin_token == ""
    assert options.read({}, environment | {"SESAME_ADMIN_TOKEN": "0123456789abcdef"}).admin_token == "0123456789abcdef"


def test_a_token_that_is_given_twice_or_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef\n")
    both = {"SESAME_ADMIN_TOKEN_FILE": str(tmp_path / "token"), "SESAME_ADMIN_TOKEN": "fedcba9876543210"}
    with pytest.raises(SettingsError, match="give one of them"):
        options.read({}, both)
    with pytest.raises(SettingsError, match="SESAME_ADMIN_TOKEN_FILE cannot be read"):
        options.read({}, {"SESAME_ADMIN_TOKEN_FILE": str(tmp_path / "nowhere")})


def test_an_option_counts_before_a_file_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef\n")
    environment = {"SESAME_ADMIN_TOKEN_FILE": str(tmp_path / "token")}
    assert options.read({"admin_token": "fedcba9876543210"}, environment).admin_token == "fedcba9876543210"
