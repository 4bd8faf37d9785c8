"""safetensors files: they hold tensors by name and nothing else."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from models.errors import CheckpointError
from models.tensors import Tensors


def content(path: Path) -> Tensors:
    """The tensors by name. Raises CheckpointError when the file is damaged."""
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"'{path.name}' cannot be read as a safetensors file ({error}): download it again."
        ) from error
