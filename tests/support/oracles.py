"""Oracles: timm and torchvision, whose networks and transforms the tests compare with."""

import importlib
import sys
from types import ModuleType

from tests.support import fast


def torchvision() -> ModuleType:
    """torchvision, also where its compiled operators do not fit this torch build: none of them is used here."""
    fast.leave("asks another library")
    try:
        return importlib.import_module("torchvision.transforms")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        sys.modules["torchvision._meta_registrations"] = ModuleType("torchvision._meta_registrations")
        return importlib.import_module("torchvision.transforms")


def timm() -> ModuleType:
    """timm. It imports torchvision, so that must be importable first."""
    torchvision()
    return importlib.import_module("timm")
