"""Hub: downloads weights that timm publishes on the Hugging Face hub."""

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from models.errors import CheckpointError
from models.optional_imports import import_optional

_FILE = "model.safetensors"
_TIMEOUT_S = 10


def fetch(reference: str) -> tuple[Path, str]:
    """Download e.g. `timm:seresnet50.ra2_in1k`. Returns the file, in the hub's own cache, and its address.

    Shows the hub's progress bar. Raises CheckpointError where there is no such network, no connection, or the download
    fails.
    """
    source, _, name = reference.partition(":")
    if source != "timm" or not name:
        raise CheckpointError(
            f"'{reference}' is not a reference to published weights: give e.g. timm:seresnet50.ra2_in1k."
        )
    repository, hub = _repository(name), import_optional("huggingface_hub")
    address: str = hub.hf_hub_url(repository, _FILE)
    if not _is_reachable(address):
        return _from_cache(hub, repository, address, reference), address
    errors = import_optional("huggingface_hub.errors")
    try:
        return Path(hub.hf_hub_download(repository, _FILE, etag_timeout=_TIMEOUT_S)), address
    except (errors.HfHubHTTPError, errors.EntryNotFoundError) as error:
        raise CheckpointError(f"The hub has no weights at {address}: choose one that its page lists.") from error
    except Exception as error:  # of its HTTP library, of the disk …
        raise CheckpointError(
            f"{address} was not downloaded completely ({error}): try again, or free some disk space."
        ) from error


def _is_reachable(address: str) -> bool:
    """Whether a server answers at the address. The hub's own library would try for half a minute before it gives up."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_TIMEOUT_S):
            return True
    except urllib.error.HTTPError:
        return True  # an answer, even if it is an error: the hub's library handles tokens and missing files
    except OSError:
        return False


def _from_cache(hub: Any, repository: str, address: str, reference: str) -> Path:
    cached = hub.try_to_load_from_cache(repository, _FILE)
    if not isinstance(cached, str):
        raise CheckpointError(
            f"{address} cannot be reached: connect to a network that reaches the hub, or download the file elsewhere "
            f"and convert it with --arch {reference}."
        )
    return Path(cached)


def _repository(name: str) -> str:
    """The repository in which timm publishes the weights of that name. The timm package itself lists them."""
    models = import_optional("timm.models")
    config = models.get_pretrained_cfg(name, allow_unregistered=True)
    repository = getattr(config, "hf_hub_id", None)
    if not repository:
        raise CheckpointError(f"timm publishes no weights named '{name}': choose one from timm.list_pretrained().")
    return str(repository)
