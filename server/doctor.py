"""Doctor: reports what this machine has, and how each engine runs each bundle on it (`python -m server doctor`)."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import product
from pathlib import Path

import onnxruntime

from bundle import fast_jpeg, files
from bundle.errors import BundleError
from bundle.files import Bundle
from server.engines import on_cpu
from server.engines.candidate import Candidate
from server.engines.machine import Machine
from server.host import cores
from server.registry.remote_folder import remote_folder
from server.settings import Settings
from trt.gpus import Gpu, NoGpu, gpus
from trt.store import Store, resolved

_NVIDIA = Path("/proc/driver/nvidia/version")
_DEMO = Path(__file__).parents[1] / "model_repository" / "demo"
_NAMED = 20  # versions of a store


@dataclass(frozen=True)
class Finding:
    """One line of the report. `cure` says what to do, or what the server will do; "" where nothing is wrong."""

    subject: str
    message: str
    cure: str = ""

    def line(self) -> str:
        message = f"{self.message}. {self.cure}" if self.cure else self.message
        return f"{'BAD' if self.cure else 'ok':<4}{self.subject:<34}{message}"


def findings(settings: Settings) -> Iterator[Finding]:
    """Yields each finding as soon as it is known: every engine takes some seconds."""
    yield Finding("processor", f"{cores.processor()}; {cores.usable()} of {os.cpu_count()} cores may be used")
    yield Finding("instructions", ", ".join(cores.features()) or "none known that make networks faster")
    found: list[Gpu] = []
    try:
        found = gpus()
        yield from map(_gpu, found)
    except NoGpu as error:
        yield _no_gpu(error)
    yield Finding("onnxruntime", f"{onnxruntime.__version__}: {', '.join(onnxruntime.get_available_providers())}")
    yield _jpeg()
    yield _package("openvino", "a second engine for CPUs")
    if found:
        yield _package("tensorrt-cu13", "the fastest engine")
        yield _package("triton", "this project's kernels for SE blocks")
    for gpu, way in product(found, ("native", "pooled", "plugin")):
        yield _self_test(gpu, way)
    yield from _bundles(settings, found)


def _bundles(settings: Settings, gpus: Sequence[Gpu]) -> Iterator[Finding]:
    place = settings.model_repository
    if not isinstance(place, Path):
        yield from _remote_bundles(settings, gpus, place)
        return
    try:
        found = list(files.find(place))
    except OSError as error:
        cure = "Give the folder with the bundles by --model-repository."
        yield Finding("model repository", f"'{place}' cannot be read ({error.strerror})", cure)
        return
    if not found:
        yield Finding("model repository", f"'{place}' holds none", "Make one with `python -m export convert`.")
    yield from _engines(settings, gpus, found)


def _remote_bundles(settings: Settings, gpus: Sequence[Gpu], url: str) -> Iterator[Finding]:
    """What a store holds, and the engines for what is in the cache of it: the doctor fetches nothing."""
    try:
        remote = remote_folder(url, resolved(settings.cache_dir))
        held = remote.scan()
    except (BundleError, OSError) as error:
        cure = "Mend the URL, the credentials in the environment or the connection."
        yield Finding("model repository", getattr(error, "strerror", None) or str(error).rstrip("."), cure)
        return
    named = [f"{found.name}/{found.version}" for found in held.values()]
    yield Finding("model repository", f"{remote.url} holds {', '.join(named[-_NAMED:])}")
    yield from _engines(settings, gpus, files.find(remote.root))


def _engines(settings: Settings, gpus: Sequence[Gpu], found: Iterable[tuple[str, str, Path]]) -> Iterator[Finding]:
    threads = cores.shares(settings.decode_threads, settings.engine_threads).engine
    machine = Machine(threads, gpus, Store(settings.cache_dir), settings.max_batch)
    for name, version, path in found:
        try:
            bundle = files.read(path)
        except BundleError as error:
            yield Finding(f"{name}/{version}", str(error).rstrip("."), "The server will not serve it.")
            continue
        if why := on_cpu.why_not(bundle):
            message, _, cure = why.partition(": ")
            yield Finding(f"{name}/{version} int8", message, f"{cure.capitalize()}.")
        for candidate in machine.candidates(bundle):
            yield _engine(f"{name}/{version} {candidate.name}", candidate, bundle, settings.max_batch)


def _engine(subject: str, candidate: Candidate, bundle: Bundle, max_batch: int) -> Finding:
    """Make an engine, compare its answers with the bundle's probe, and time it."""
    try:
        tried = candidate.tried(bundle, max_batch)
    except Exception as error:  # a runtime may raise anything for a graph that it cannot run
        cure = "The server will use another engine; `python -m export verify` says whether the bundle is whole."
        return Finding(subject, (str(error) or type(error).__name__).splitlines()[0].rstrip("."), cure)
    message = f"{tried.images_per_s:.0f} images/s in batches of {tried.batch}, max |Δp| {tried.parity.max_dp:.1e}"
    return Finding(subject, message)


def _jpeg() -> Finding:
    if fast_jpeg.AVAILABLE:
        versions = ", ".join(f"{name} {metadata.version(name)}" for name in fast_jpeg.PACKAGES)
        return Finding("JPEG decoder", f"{versions} ({fast_jpeg.instructions()})")
    cure = f"`pip install {' '.join(fast_jpeg.PACKAGES)}` decodes ordinary JPEGs in two thirds of the time"
    return Finding("JPEG decoder", f"Pillow, which decodes them all; this is optional: {cure}")


def _package(name: str, adds: str) -> Finding:
    try:
        return Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, f"not installed; this is optional: `pip install {name}` adds {adds}")


def _no_gpu(error: NoGpu) -> Finding:
    if _NVIDIA.exists():  # a driver is installed: somebody means to use a GPU
        return Finding("NVIDIA GPU", str(error), "Engines run on the CPU until then.")
    return Finding("NVIDIA GPU", "none that this process may use")


def _gpu(gpu: Gpu) -> Finding:
    message = f"{gpu.name}, compute capability {gpu.compute_capability}, {gpu.multiprocessors} multiprocessors"
    return Finding(f"NVIDIA GPU {gpu.index}", f"{message}; driver for CUDA {gpu.driver}")


def _self_test(gpu: Gpu, way: str) -> Finding:
    """Build, run and compare a plan of the demo, a small SE network, in a process of its own; `way`: how SE is run."""
    subject = f"GPU {gpu.index}: plan with SE {way}"
    with tempfile.TemporaryDirectory(prefix="sesame-") as folder:
        options = ["--se", way, "--gpu", str(gpu.index), "--max-batch", "2", "--cache-dir", folder, "--json"]
        command = [sys.executable, "-m", "export", "build-engine", str(_DEMO), *options]
        ended = subprocess.run(command, cwd=_DEMO.parents[1], capture_output=True, text=True, check=False)
    if ended.returncode:
        message = (ended.stderr.strip() or f"exit code {ended.returncode}").splitlines()[-1].rstrip(".")
        return Finding(subject, message, "The server will use another engine.")
    (plan,) = json.loads(ended.stdout)
    message = f"one image {plan['seconds'][way]['1'] * 1e3:.2f} ms, max |Δp| {plan['parity']['max_dp']:.1e}"
    if layers := plan["layers"]:
        message = f"{layers['count']} layers, {len(layers['se'])} of SE, {layers['reformats']} reformat; {message}"
    return Finding(subject, message)
