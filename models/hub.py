"""Hub: published weights, fetched from the Hugging Face hub that timm publishes on."""

import importlib
from pathlib import Path

from models.errors import CheckpointError

_FILE = "model.safetensors"
_PATIENCE_S = 10


def fetch(reference: str) -> tuple[Path, str]:
    """The file of `timm:seresnet50.ra2_in1k`, in the hub's own cache, and the address it came from.

    Shows the hub's progress bar. Raises CheckpointError where there is no such network, no network connection, or
    another fault on the way.
    """
    library, _, name = reference.partition(":")
    if library != "timm" or not name:
        raise CheckpointError(f"'{reference}' is no reference to published weights: say e.g. timm:seresnet50.ra2_in1k.")
    repository = _repository(name)
    hub, errors = importlib.import_module("huggingface_hub"), importlib.import_module("huggingface_hub.errors")
    address = hub.hf_hub_url(repository, _FILE)
    try:
        return Path(hub.hf_hub_download(repository, _FILE, etag_timeout=_PATIENCE_S)), address
    except errors.LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{address} cannot be reached: connect to a network that reaches the hub, or fetch the file elsewhere and "
            f"convert it with --arch {reference}."
        ) from error
    except (errors.HfHubHTTPError, errors.EntryNotFoundError) as error:
        raise CheckpointError(f"The hub has no weights at {address}: see its page for what is there.") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{address} was not fetched whole ({error}): try again, or make room.") from error


def _repository(name: str) -> str:
    """Where timm publishes the weights of that name. Its list of networks is in the library itself."""
    try:
        models = importlib.import_module("timm.models")
    except ImportError as error:
        raise CheckpointError("timm is not installed: make setup, or pip install timm.") from error
    config = models.get_pretrained_cfg(name, allow_unregistered=True)
    repository = getattr(config, "hf_hub_id", None)
    if not repository:
        raise CheckpointError(f"timm publishes no weights of '{name}': its list_pretrained() names those there are.")
    return str(repository)
