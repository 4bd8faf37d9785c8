"""Compose repository: the model repository that the settings name: a folder, or a store with its cache."""

from pathlib import Path

from server.metrics import Metrics
from server.registry.remote_folder import remote_folder
from server.registry.repository import Repository
from server.settings import Settings
from trt.store import resolved


def compose_repository(settings: Settings, metrics: Metrics) -> Repository:
    """Raises BundleError where a folder has nothing to serve, or a URL cannot be used. A store is not asked yet."""
    place = settings.model_repository
    if isinstance(place, Path):
        return Repository(place, settings.default_model, metrics)
    remote = remote_folder(place, resolved(settings.cache_dir))
    return Repository(remote.root, settings.default_model, metrics, remote)
