"""Catalogue: the frameworks that Sesame is compared with, what is installed for each, and how it is started."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

_SERVERS = "bench.peers.servers"


@dataclass(frozen=True)
class Peer:
    """One framework. `package` is the one that is named with its version; all of `pins` are installed.

    `module` is run by its environment's Python. {port}, {workers} and {folder} (a temporary one) are filled in, in
    `arguments` and `variables`. A peer that takes no raw body is sent a form (`multipart`).
    """

    name: str
    package: str
    pins: tuple[str, ...]
    module: str
    arguments: str = ""
    multipart: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)


def _as_here(*packages: str) -> tuple[str, ...]:
    """In the versions that Sesame itself runs with."""
    return tuple(f"{package}=={version(package)}" for package in packages)


COMMON = _as_here("numpy", "pillow", "onnxruntime")

PEERS = (
    Peer(
        "FastAPI",
        "fastapi",
        _as_here("fastapi", "uvicorn", "uvloop", "httptools"),
        "uvicorn",
        f"{_SERVERS}.with_fastapi:app --port {{port}} --workers {{workers}} --no-access-log",
    ),
    Peer(
        "mosec",
        "mosec",
        ("mosec==0.9.8",),
        f"{_SERVERS}.with_mosec",
        "--address 127.0.0.1 --port {port} --timeout 30000",
    ),
    Peer(
        "LitServe",
        "litserve",
        ("litserve==0.2.19", *_as_here("fastapi", "uvicorn", "python-multipart")),
        f"{_SERVERS}.with_litserve",
        multipart=True,
    ),
    Peer(
        "BentoML",
        "bentoml",
        ("bentoml==1.4.40",),
        "bentoml",
        f"serve {_SERVERS}.with_bentoml:Api --host 127.0.0.1 --port {{port}}",
        multipart=True,
        variables={"BENTOML_HOME": "{folder}", "BENTOML_DO_NOT_TRACK": "1"},
    ),
    Peer(
        "Ray Serve",
        "ray",
        ("ray[serve]==2.60.0", *_as_here("fastapi", "uvicorn")),
        f"{_SERVERS}.with_ray",
        variables={"RAY_TMPDIR": "{folder}", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"},
    ),
)
