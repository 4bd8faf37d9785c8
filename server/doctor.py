"""Doctor: what this machine has, and what each engine does with each bundle here. `python -m server doctor`."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bundle import files
from bundle.errors import BundleError
from bundle.files import Bundle
from server import cores
from server.engines import choice
from server.engines.choice import Candidate
from server.settings import Settings

_NVIDIA = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Finding:
    """One line of the report; `cure` where something is wrong."""

    what: str
    told: str
    cure: str = ""

    def line(self) -> str:
        told = f"{self.told}. {self.cure}" if self.cure else self.told
        return f"{'BAD' if self.cure else 'ok':<4}{self.what:<34}{told}"


def findings(settings: Settings) -> Iterator[Finding]:
    """One after the other as they are found: the engines take some seconds each."""
    yield Finding("processor", f"{cores.processor()}; {cores.usable()} of {os.cpu_count()} cores may be used")
    yield Finding("instructions", ", ".join(cores.features()) or "Linux tells none of those that matter")
    yield _gpu()
    for package, needed in (("onnxruntime", True), ("openvino", False)):
        yield _package(package, needed)
    yield from _bundles(settings)


def _bundles(settings: Settings) -> Iterator[Finding]:
    try:
        found = list(files.find(settings.bundles))
    except OSError as error:
        cure = "Give the folder of the bundles with --bundles."
        yield Finding("bundles", f"'{settings.bundles}' cannot be read ({error.strerror})", cure)
        return
    if not found:
        yield Finding("bundles", f"'{settings.bundles}' holds none", "Make one with `python -m export convert`.")
    threads = cores.shares(settings.decode_threads, settings.engine_threads).engine
    for name, version, path in found:
        try:
            bundle = files.read(path)
        except BundleError as error:
            yield Finding(f"{name}/{version}", str(error).rstrip("."), "The server will not serve it.")
            continue
        for candidate in choice.proven(bundle, threads):
            yield _tried(f"{name}/{version} {candidate.name}", candidate, bundle, settings.max_batch)


def _tried(what: str, candidate: Candidate, bundle: Bundle, max_batch: int) -> Finding:
    """An engine made, compared with the bundle's probe, and timed."""
    try:
        tried = candidate.tried(bundle, max_batch)
    except Exception as error:  # a runtime may raise anything at a graph that it cannot take
        cure = "The server will take another engine; `python -m export verify` tells whether the bundle is whole."
        return Finding(what, (str(error) or type(error).__name__).splitlines()[0].rstrip("."), cure)
    told = f"{tried.images_per_s:.0f} images/s in batches of {tried.batch}, max |Δp| {tried.parity.max_dp:.1e}"
    return Finding(what, told)


def _package(name: str, needed: bool) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        if needed:
            return Finding(name, "not installed", f"Run `pip install {name}`.")
        return Finding(name, f"not installed, and not needed; `pip install {name}` adds a second engine")
    return Finding(name, version)


def _gpu() -> Finding:
    try:
        version = re.search(r"\d+(\.\d+)+", _NVIDIA.read_text(encoding="utf-8"))
    except OSError:
        return Finding("NVIDIA GPU", "none that this process may use")
    return Finding("NVIDIA GPU", f"driver {version[0] if version else '?'}; engines here run on the CPU")
