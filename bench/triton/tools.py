"""Tools: NVIDIA's programs, as `make bench-triton` lays them down. They are no part of Sesame."""

import os
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from bench.running import ROOT

FOLDER = ROOT / ".venv-field" / "triton"

_CURE = "make bench-triton installs it"


class NoTools(Exception):
    """A program, or a library that it needs, is missing; the message says how to get it."""


def packages() -> Path:
    """Where the packages of their environment are. Raises NoTools."""
    for found in FOLDER.glob("lib/python3.*/site-packages"):
        return found
    raise NoTools(f"There is no environment '{FOLDER.relative_to(ROOT)}': {_CURE}.")


def perf_analyzer() -> tuple[Path, Mapping[str, str]]:
    """The program, and the environment variables that it needs. Raises NoTools."""
    program = FOLDER / "bin" / "perf_analyzer"
    libraries = [packages() / "nvidia" / "cuda_runtime" / "lib", *FOLDER.glob("libb64/usr/lib/*")]
    variables = _with_libraries(*libraries)
    _check(program, variables)
    return program, variables


def tritonserver() -> tuple[Path, Mapping[str, str]]:
    """Its folder, and the environment variables that the server and its Python backend need. Raises NoTools."""
    folder = packages() / "pytriton" / "tritonserver"
    libpython = Path(sysconfig.get_config_var("LIBDIR"))
    variables = _with_libraries(libpython, packages() / "nvidia_pytriton.libs")
    _check(folder / "bin" / "tritonserver", variables)
    _check(stub(folder), variables)
    return folder, variables


def stub(folder: Path) -> Path:
    """Of Triton's folder: the program that runs a model's Python, for the Python of the environment."""
    version = packages().parent.name.removeprefix("python")
    return folder / "python_backend_stubs" / version / "triton_python_backend_stub"


def _with_libraries(*folders: Path) -> dict[str, str]:
    path = [*map(str, folders), os.environ.get("LD_LIBRARY_PATH", "")]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, path))}


def _check(program: Path, variables: Mapping[str, str]) -> None:
    if not program.exists():
        raise NoTools(f"There is no '{program}': {_CURE}.")
    found = subprocess.run(["ldd", str(program)], env=variables, capture_output=True, text=True, check=False).stdout
    missing = [line.split()[0] for line in found.splitlines() if "not found" in line]
    if missing:
        raise NoTools(f"{program.name} needs {', '.join(missing)}, which this machine does not have: install it.")
