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
