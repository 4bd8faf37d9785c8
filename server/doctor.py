"""Doctor: what this machine has, and what each engine does with each bundle here. `python -m server doctor`."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import product
from pathlib import Path

import onnxruntime

from bundle import files
from bundle.errors import BundleError
from bundle.files import Bundle
from plans.gpus import Gpu, NoGpu, gpus
from plans.store import Store
from server import cores
from server.engines import on_cpu
from server.engines.candidate import Candidate
from server.engines.choice import Machine
from server.settings import Settings

_NVIDIA = Path("/proc/driver/nvidia/version")
_DEMO = Path(__file__).parents[1] / "bundles" / "demo"


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
    found = _gpus()
    yield from _told(found)
    yield Finding("onnxruntime", f"{onnxruntime.__version__}: {', '.join(onnxruntime.get_available_providers())}")
    yield _package("openvino", "a second engine for CPUs")
    if isinstance(found, NoGpu):
        yield from _bundles(settings, [])
        return
    for package, adds in (("tensorrt-cu13", "the fastest engine"), ("triton", "this project's kernels for SE")):
        yield _package(package, adds)
    for gpu, way in product(found, ("native", "pooled", "plugin")):
        yield _self_test(gpu, way)
    yield from _bundles(settings, found)


def _bundles(settings: Settings, gpus: Sequence[Gpu]) -> Iterator[Finding]:
    try:
        found = list(files.find(settings.bundles))
    except OSError as error:
        cure = "Give the folder of the bundles with --bundles."
        yield Finding("bundles", f"'{settings.bundles}' cannot be read ({error.strerror})", cure)
        return
    if not found:
        yield Finding("bundles", f"'{settings.bundles}' holds none", "Make one with `python -m export convert`.")
    threads = cores.shares(settings.decode_threads, settings.engine_threads).engine
    machine = Machine(threads, gpus, Store(settings.cache_dir), settings.max_batch)
    for name, version, path in found:
        try:
            bundle = files.read(path)
        except BundleError as error:
            yield Finding(f"{name}/{version}", str(error).rstrip("."), "The server will not serve it.")
            continue
        if why := on_cpu.why_not(bundle):
            told, _, cure = why.partition(": ")
            yield Finding(f"{name}/{version} int8", told, f"{cure.capitalize()}.")
        for candidate in machine.candidates(bundle):
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


def _package(name: str, adds: str) -> Finding:
    try:
        return Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, f"not installed, and not needed; `pip install {name}` adds {adds}")


def _gpus() -> list[Gpu] | NoGpu:
    try:
        return gpus()
    except NoGpu as error:
        return error


def _told(found: list[Gpu] | NoGpu) -> Iterator[Finding]:
    if isinstance(found, NoGpu):
        if _NVIDIA.exists():  # there is a driver, so somebody means to use a GPU
            yield Finding("NVIDIA GPU", str(found), "Engines run on the CPU until then.")
        else:
            yield Finding("NVIDIA GPU", "none that this process may use")
        return
    for gpu in found:
        told = f"{gpu.name}, compute capability {gpu.compute_capability}, {gpu.multiprocessors} multiprocessors"
        yield Finding(f"NVIDIA GPU {gpu.index}", f"{told}; driver for CUDA {gpu.driver}")


def _self_test(gpu: Gpu, way: str) -> Finding:
    """The demo, a small SE network, as a plan in this way: built, run and compared in a process of its own."""
    what = f"GPU {gpu.index}: plan with SE {way}"
    with tempfile.TemporaryDirectory(prefix="sesame-") as folder:
        options = ["--se", way, "--gpu", str(gpu.index), "--max-batch", "2", "--cache-dir", folder, "--json"]
        command = [sys.executable, "-m", "export", "build-engine", str(_DEMO), *options]
        ended = subprocess.run(command, cwd=_DEMO.parents[1], capture_output=True, text=True, check=False)
    if ended.returncode:
        told = (ended.stderr.strip() or f"exit code {ended.returncode}").splitlines()[-1].rstrip(".")
        return Finding(what, told, "The server will take another engine.")
    (plan,) = json.loads(ended.stdout)
    told = f"one image {plan['seconds'][way]['1'] * 1e3:.2f} ms, max |Δp| {plan['parity']['max_dp']:.1e}"
    if layers := plan["layers"]:
        told = f"{layers['count']} layers, {len(layers['se'])} of SE, {layers['reformats']} reformat; {told}"
    return Finding(what, told)
