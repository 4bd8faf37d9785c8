"""Ray settings: what `args` of deploy/ray.yaml say, as the Settings of each replica."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server import options
from server.settings import Settings, SettingsError

_RAYS = {
    "host": "http_options: host",
    "http_port": "http_options: port",
    "grpc_port": "grpc_options: port",
    "fronts": "autoscaling_config: a replica is one process",
    "max_connections": "max_ongoing_requests: Ray's proxy has the connections",
    "drain_delay_s": "graceful_shutdown_timeout_s: Ray sends a leaving replica nothing new",
}
"""Settings that mean nothing in a replica, and what of ray.yaml stands in their place."""


@dataclass(frozen=True)
class Arguments:
    """`multiplexed_models`: most models of a replica at a time, loaded on demand; 0: it loads all at its start."""

    settings: Settings
    multiplexed_models: int = 0


def read(args: Mapping[str, Any]) -> Arguments:
    """Raises SettingsError for a name that there is not, and for a value that cannot be used."""
    if unknown := args.keys() - {"settings", "multiplexed_models"}:
        raise SettingsError(f"args has no {min(unknown)!r}: it has settings and multiplexed_models.")
    given, models = args.get("settings") or {}, args.get("multiplexed_models", 0)
    if not isinstance(given, Mapping):
        raise SettingsError("args: settings must be names with values, such as model_repository: /models.")
    if isinstance(models, bool) or not isinstance(models, int) or models < 0:
        raise SettingsError(f"multiplexed_models must be a whole number from 0 on, not {models!r}.")
    names = {field.name for field in dataclasses.fields(Settings)}
    for name, value in given.items():
        if value is None:
            raise SettingsError(f"{name} has no value: give one, or leave it out.")
        if name in _RAYS:
            raise SettingsError(f"{name} is not a replica's: set {_RAYS[name]}.")
        if name not in names:
            raise SettingsError(f"There is no setting {name!r}: docs/settings.md lists all.")
    settings = options.read({name: _text(value) for name, value in given.items()}, {})
    if models and settings.watch_s:
        raise SettingsError("watch_s would load all models: leave it out where multiplexed_models is set.")
    return Arguments(settings, models)


def with_threads(settings: Settings, cpus: float) -> Settings:
    """As many threads as the replica has of Ray's CPUs, at least one, where the settings do not say; 0: all cores."""
    threads = max(1, int(cpus)) if cpus else 0
    return dataclasses.replace(
        settings,
        decode_threads=settings.decode_threads or threads,
        engine_threads=settings.engine_threads or threads,
    )


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
