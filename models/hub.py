"""Hub: published weights, fetched from the Hugging Face hub that timm publishes on."""

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from models.errors import CheckpointError
from models.imports import library

_FILE = "model.safetensors"
_PATIENCE_S = 10


def fetch(reference: str) -> tuple[Path, str]:
    """The file of `timm:seresnet50.ra2_in1k`, in the hub's own cache, and the address it came from.

    Shows the hub's progress bar. Raises CheckpointError where there is no such network, no network connection, or
    another fault on the way.
    """
    source, _, name = reference.partition(":")
    if source != "timm" or not name:
        raise CheckpointError(f"'{reference}' is no reference to published weights: say e.g. timm:seresnet50.ra2_in1k.")
    repository, hub = _repository(name), library("huggingface_hub")
    address: str = hub.hf_hub_url(repository, _FILE)
    if not _is_reachable(address):
        return _from_cache(hub, repository, address, reference), address
    errors = library("huggingface_hub.errors")
    try:
        return Path(hub.hf_hub_download(repository, _FILE, etag_timeout=_PATIENCE_S)), address
    except (errors.HfHubHTTPError, errors.EntryNotFoundError) as error:
        raise CheckpointError(f"The hub has no weights at {address}: see its page for what is there.") from error
    except Exception as error:  # of its HTTP library, of the disk …
        raise CheckpointError(f"{address} was not fetched whole ({error}): try again, or make room.") from error


def _is_reachable(address: str) -> bool:
    """Whether anything answers there. The hub's own library tries for half a minute before it gives up."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_PATIENCE_S):
            return True
    except urllib.error.HTTPError:
        return True  # an answer, if no file: it is the hub's library that knows tokens and names
    except OSError:
        return False


def _from_cache(hub: Any, repository: str, address: str, reference: str) -> Path:
    held = hub.try_to_load_from_cache(repository, _FILE)
    if not isinstance(held, str):
        raise CheckpointError(
            f"{address} cannot be reached: connect to a network that reaches the hub, or fetch the file elsewhere and "
            f"convert it with --arch {reference}."
        )
    return Path(held)


def _repository(name: str) -> str:
    """Where timm publishes the weights of that name. Its list of networks is in the library itself."""
    models = library("timm.models")
    config = models.get_pretrained_cfg(name, allow_unregistered=True)
    repository = getattr(config, "hf_hub_id", None)
    if not repository:
        raise CheckpointError(f"timm publishes no weights of '{name}': its list_pretrained() names those there are.")
    return str(repository)
