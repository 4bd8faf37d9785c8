"""Imports: libraries that are not needed by most, and what to do where one is missing or broken."""

import importlib
from types import ModuleType

from models.errors import CheckpointError


def library(name: str) -> ModuleType:
    """The module of that name. Raises CheckpointError with the cure where it is not there or does not work."""
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CheckpointError(f"{package} is not installed: make setup, or pip install {package}.") from error
    except RuntimeError as error:  # "operator torchvision::nms does not exist"
        raise CheckpointError(
            f"{package} cannot be imported ({error}): torch and torchvision do not fit each other, install the pair "
            "that is made together (torch 2.13 and torchvision 0.28)."
        ) from error
