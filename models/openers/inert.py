"""Inert unpickling: runs no code from the file. Objects of classes not known as harmless are skipped or rejected."""

import argparse
import collections
import pickle
from typing import Any

import numpy as np
import numpy._core.multiarray as multiarray
import torch

_HARMLESS: dict[tuple[str, str], Any] = {
    ("argparse", "Namespace"): argparse.Namespace,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("_codecs", "encode"): __import__("_codecs").encode,  # how pickle writes the bytes of an array
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{
        (f"numpy.{core}.multiarray", name): getattr(multiarray, name)
        for core in ("core", "_core")  # the name before and after NumPy 2
        for name in ("_reconstruct", "scalar")
    },
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    **{("builtins", kind.__name__): kind for kind in (set, frozenset, bytearray, complex, slice)},
    **{("torch", str(kind).removeprefix("torch.")): kind for kind in (torch.float16, torch.bfloat16, torch.float32)},
}


class ForeignObject(pickle.UnpicklingError):
    """A pickle needs a class or function that is not known to be harmless."""


class Skipped:
    """Takes the place of an object of a foreign class: accepts all that a pickle does to it, and keeps nothing."""

    def __new__(cls, *arguments: object, **named: object) -> "Skipped":
        return super().__new__(cls)

    def __init__(self, *arguments: object, **named: object) -> None: ...

    def __call__(self, *arguments: object, **named: object) -> "Skipped":
        return self

    def __setstate__(self, state: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...

    def append(self, item: object) -> None: ...

    def extend(self, items: object) -> None: ...

    def add(self, item: object) -> None: ...


class Unpickler(pickle.Unpickler):
    """Makes objects of harmless classes, and raises ForeignObject for all others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _HARMLESS:
            return _HARMLESS[module, name]
        raise ForeignObject(f"{module}.{name}")


class SkippingUnpickler(Unpickler):
    """Makes objects of harmless classes, and Skipped in the place of all others."""

    def find_class(self, module: str, name: str) -> Any:
        return _HARMLESS.get((module, name), Skipped)
