"""Optional imports: libraries that most users do not need, and the cure where one is missing or broken."""

import importlib
from types import ModuleType

from models.errors import CheckpointError


def import_optional(name: str) -> ModuleType:
    """The module of that name. Raises CheckpointError, with the cure, where it is not installed or does not work."""
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CheckpointError(f"{package} is not installed: make setup, or pip install {package}.") from error
    except RuntimeError as error:  # "operator torchvision::nms does not exist"
        raise CheckpointError(
            f"{package} cannot be imported ({error}): the versions of torch and torchvision do not match; install two "
            "that were released together (torch 2.13 and torchvision 0.28)."
        ) from error
