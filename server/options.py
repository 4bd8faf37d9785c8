"""Options: reads the settings from the command line and from the environment."""

import argparse
import dataclasses
import logging
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from server.settings import PATHS, Settings, SettingsError, folder_or_url

log = logging.getLogger(__name__)

_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
_SERVICE_NAME = re.compile(r"(PORT|SERVICE)_.+|.+_PORT_[0-9]+_(TCP|UDP|SCTP)(_.+)?|.+_SERVICE_(HOST|PORT)(_.+)?")

_RENAMED = {"bundles": "model_repository"}
"""Old names of settings, and the new ones. The old ones still work in this release, with a warning."""


def add_options(parser: argparse.ArgumentParser, names: Collection[str] | None = None) -> None:
    """Add one option for each setting, or for those of these names. A switch that is on by default is turned off by
    `--no-…`.
    """
    for field in dataclasses.fields(Settings):
        if names is not None and field.name not in names:
            continue
        option = _option(field.name)
        help = f"{field.metadata['help']} (default: {_default(field)}; {_variable(field.name)})"
        if field.type is bool:
            switch, value = (option.replace("--", "--no-", 1), "false") if field.default else (option, "true")
            parser.add_argument(switch, dest=field.name, action="store_const", const=value, help=help)
        else:
            parser.add_argument(option, help=help, metavar="VALUE")
    for old, new in _RENAMED.items():
        parser.add_argument(_option(old), help=f"old name of {_option(new)}", metavar="VALUE")


def read(options: Mapping[str, str | None], environment: Mapping[str, str]) -> Settings:
    """Settings from parsed options and the environment. Where both set one, the option counts.

    Raises SettingsError for a value that cannot be used, for an unknown SESAME_ variable, and for a setting given under
    its old and its new name. Variables that Kubernetes sets for a Service named "sesame…" are ignored.
    """
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    prefixed = {
        key.removeprefix("SESAME_").lower(): value
        for key, value in environment.items()
        if key.startswith("SESAME_") and not _is_of_a_service(key, value, fields)
    }
    prefixed = _with_new_names(prefixed, _variable)
    unknown = prefixed.keys() - fields
    if unknown:
        raise SettingsError(f"There is no setting {_variable(min(unknown))}: --help lists all settings.")
    given = {key: value for key, value in options.items() if value is not None}
    texts = prefixed | _with_new_names(given, _option)
    return Settings(**{name: _parse(fields[name], text) for name, text in texts.items()})


def _with_new_names(texts: Mapping[str, str], spell: Callable[[str], str]) -> dict[str, str]:
    """The same settings, those under an old name under the new one. `spell` writes a name as the operator does."""
    renamed = dict(texts)
    for old, new in ((old, new) for old, new in _RENAMED.items() if old in texts):
        if new in texts:
            raise SettingsError(f"{spell(old)} is the old name of {spell(new)}: give {spell(new)} alone.")
        log.warning("%s is now named %s: the old name stops working in the next release", spell(old), spell(new))
        renamed[new] = renamed.pop(old)
    return renamed


def _default(field: "dataclasses.Field[Any]") -> str:
    if field.type is bool:
        return "on" if field.default else "off"
    return "none" if field.default in ("", None) else str(field.default)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _variable(name: str) -> str:
    return f"SESAME_{name.upper()}"


def _is_of_a_service(key: str, value: str, fields: Collection[str]) -> bool:
    """Whether Kubernetes set this variable, as it does in each pod for the Services of its namespace."""
    name = key.removeprefix("SESAME_")
    if name.lower() in fields:
        address = name.endswith("_PORT") and _ADDRESS.match(value) is not None
        if address:
            log.warning(
                "%s=%s is ignored: it is the address of a Kubernetes Service, not a port to listen on",
                key,
                value,
            )
        return address
    return _SERVICE_NAME.fullmatch(name) is not None or (name.endswith("PORT") and _ADDRESS.match(value) is not None)


def _parse(field: "dataclasses.Field[Any]", text: str) -> Any:
    if field.type is bool:
        if text.lower() not in ("true", "false", "1", "0"):
            raise SettingsError(f"{field.name} must be true or false, not {text!r}.")
        return text.lower() in ("true", "1")
    word = field.metadata["word"]
    if word and text == word:
        return word
    if field.type is int or word:
        try:
            return int(text)
        except ValueError:
            kinds = f"{word} or a whole number" if word else "a whole number"
            raise SettingsError(f"{field.name} must be {kinds}, not {text!r}.") from None
    if field.type is float:
        try:
            return float(text)
        except ValueError:
            raise SettingsError(f"{field.name} must be a number, not {text!r}.") from None
    if field.name == "model_repository":
        return folder_or_url(text)
    return Path(text) if field.type in PATHS else text.strip()  # a file that holds a token ends in a newline
