"""What `python -m export` understands of its options."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from export import commands
from export.options import ConvertOptions


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[ConvertOptions]:
    """The options of each conversion, which is not done."""
    options: list[ConvertOptions] = []

    def convert(path: Path, given: ConvertOptions, *_: Any) -> SimpleNamespace:
        options.append(given)
        return SimpleNamespace(refused=[], warnings=[], path=path)

    monkeypatch.setattr(commands, "convert", convert)
    return options


def test_the_old_name_of_the_model_repository_still_works_with_a_warning(
    converted: list[ConvertOptions], caplog: pytest.LogCaptureFixture
) -> None:
    assert commands.run(["convert", "a.pth", "--bundles", "somewhere"]) == 0
    assert converted[0].model_repository == Path("somewhere")
    assert "--bundles is now named --model-repository" in caplog.text
    commands.run(["convert", "a.pth", "--model-repository", "elsewhere"])
    assert converted[1].model_repository == Path("elsewhere")
    assert len(caplog.records) == 1


def test_the_old_name_and_the_new_one_together_are_an_error(
    converted: list[ConvertOptions], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        commands.run(["convert", "a.pth", "--bundles", "somewhere", "--model-repository", "elsewhere"])
    assert ended.value.code == 2
    assert "--model-repository: not allowed with argument --bundles" in capsys.readouterr().err
    assert not converted
