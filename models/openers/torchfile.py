"""Files of torch.save: zip archives, and the plain pickles of torch versions before 1.6."""

import argparse
import pickle
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy._core.multiarray as multiarray
import torch

from models.errors import CheckpointError
from models.openers.inert import SkippingUnpickler

_SAFE: list[Any] = [  # in addition to torch's own list: plain data that training scripts save beside the weights
    argparse.Namespace,
    np.dtype,
    np.ndarray,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")),
    *(
        (function, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name, function in (("scalar", multiarray.scalar), ("_reconstruct", multiarray._reconstruct))
    ),
]


def content(path: Path, skip_objects: bool) -> object:
    """The contents of the file. Raises CheckpointError when it is damaged, or holds objects and may not skip them."""
    try:
        return _read(path, skip_objects)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"'{path.name}' holds objects besides tensors, and loading them could run code: leave them out with "
            "--skip-objects, or save its state_dict() alone with torch.save."
        ) from error
    except CheckpointError:
        raise
    except Exception as error:  # torch raises RuntimeError, EOFError, KeyError … for truncated and other files
        raise CheckpointError(
            f"'{path.name}' cannot be read as a PyTorch checkpoint: it is damaged, incomplete or of another kind; "
            "download or save it again."
        ) from error


def _read(path: Path, skip_objects: bool) -> object:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise CheckpointError(f"'{path.name}' is a TorchScript program: save its state_dict() with torch.save.")
    load = _load_skipping if skip_objects else _load_safely
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about old files
        try:
            return load(path, encoding="utf-8")
        except UnicodeDecodeError:  # written by Python 2
            return load(path, encoding="latin1")


def _load_safely(path: Path, encoding: str) -> object:
    with torch.serialization.safe_globals(_SAFE):
        return torch.load(path, map_location="cpu", weights_only=True, encoding=encoding)


def _load_skipping(path: Path, encoding: str) -> object:
    """torch's own reader with an unpickler that makes no foreign object, so it is as safe as `weights_only`."""

    def load(file: Any, **options: Any) -> object:
        return SkippingUnpickler(file, **options).load()

    reader = SimpleNamespace(Unpickler=SkippingUnpickler, load=load, __name__="pickle")
    return torch.load(path, map_location="cpu", weights_only=False, pickle_module=reader, encoding=encoding)
