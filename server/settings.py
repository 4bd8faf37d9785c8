"""Settings: all that an operator can set, each by an option `--name` or an environment variable `SESAME_NAME`."""

import dataclasses
import importlib.util
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from remote.urls import is_url
from server.engines import table
from server.network.key_pair import TlsFiles
from server.network.proxies import Proxies

_MIB = 1 << 20
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_ORIGIN = re.compile(r"\*|https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")

_CHOICES = {
    "engine": table.names(),
    "precision": ("auto", "fp32", "bf16", "fp16", "int8", "fp8"),
    "log_level": ("debug", "info", "warning", "error"),
    "log_format": ("text", "json"),
}


PATHS: tuple[Any, ...] = (Path, Path | None)
"""The types of settings that are paths."""


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _setting(default: Any, help: str, least: int | None = None, most: int | None = None, word: str = "") -> Any:
    """`word`: what may be given instead of a number."""
    return dataclasses.field(default=default, metadata={"help": help, "least": least, "most": most, "word": word})


@dataclass(frozen=True)
class Settings:
    """Names of times end in `_ms` or `_s`, of sizes in `_bytes`. 0 threads: one for each core that may be used."""

    host: str = _setting("127.0.0.1", "address or host name to listen on; :: listens on all IPv6 and IPv4 addresses")
    http_port: int = _setting(8000, "port of REST; 0 takes any free port", 0, 65535)
    grpc_port: int = _setting(8001, "port of gRPC; 0 takes any free port", 0, 65535)
    fronts: int | str = _setting(
        "auto",
        "processes that receive, decode and answer, beside one with the engines; 0: one process does it all; auto: as "
        "many as are useful on this machine",
        0,
        64,
        word="auto",
    )
    model_repository: Path | str = _setting(
        Path("model_repository"), "folder with the bundles to serve, or the URL of a store, such as s3://bucket/models"
    )
    default_model: str = _setting("", "the model for requests that name none")
    keep_versions: int = _setting(1, "newest versions of each model to serve, besides those asked for; 0 serves all", 0)
    watch_s: int = _setting(0, "time between checks of the model repository for changes; 0 never checks", 0, 86_400)
    admin_token: str = _setting("", "token that callers of /admin must send; without a token there is no /admin")
    admin_token_file: Path | None = _setting(None, "file that holds that token; read again when it changes")
    admin_port: int | str = _setting(
        "off",
        "port of its own for /admin and /metrics, which are then not on http_port; 0 takes any free port; off: no such "
        "port",
        0,
        65535,
        word="off",
    )
    admin_host: str = _setting("127.0.0.1", "address or host name to listen on with admin_port")
    tls_cert: str = _setting("", "PEM file with the certificate, and those between it and its CA; without it no TLS")
    tls_key: str = _setting("", "PEM file with the key of tls_cert")
    tls_client_ca: str = _setting("", "PEM file with a CA: clients must have a certificate that it signed")
    uds: str = _setting("", "path of a Unix socket on which REST listens too")
    cors_origins: str = _setting(
        "", "origins, with commas between them, whose pages may call REST from a browser; * lets all of them"
    )
    root_path: str = _setting("", "path that a proxy in front takes off, such as /sesame")
    trusted_proxies: str = _setting(
        "",
        "IP networks, with commas between them, whose X-Forwarded-For and -Proto are believed; unix: of the socket uds",
    )
    keys: Path | None = _setting(None, "TOML file with the API keys that requests need; without it none is needed")
    metrics_need_key: bool = _setting(True, "where requests need keys, /metrics needs one too, with metrics = true")
    keep_going: bool = _setting(False, "start even if a model has no version that can be loaded")
    strict_readiness: bool = _setting(False, "be ready only while every model answers, not already when one does")
    max_image_bytes: int = _setting(20 * _MIB, "largest image file accepted", 1, 1 << 30)
    max_request_bytes: int = _setting(64 * _MIB, "largest request accepted", 1, 1 << 30)
    receive_bytes: int = _setting(512 * _MIB, "limit on the bytes of all requests in progress", 1, 1 << 40)
    max_connections: int = _setting(4096, "limit on connections, for REST and gRPC each", 1, 1 << 20)
    max_pixels: int = _setting(50_000_000, "largest image accepted, in pixels (width x height)", 1, 89_478_485)
    exact_pixels: bool = _setting(False, "resize exactly as in training; slower")
    max_images: int = _setting(64, "limit on the images in a request", 1)
    queue_images: int = _setting(256, "limit on the images admitted and not yet answered, for each model version", 1)
    shared_memory: str = _setting(
        "", "clients of this host may send tensors in shared memory whose name begins so; without it none may"
    )
    engine: str = _setting(
        table.AUTO, f"auto (GPU engines first; of the CPU engines the fastest), {_either(table.names()[1:])}"
    )
    precision: str = _setting("auto", "auto (the fastest that passes its checks), fp32, bf16, fp16, int8 or fp8")
    build_plans: bool = _setting(True, "build missing TensorRT plans while another engine serves")
    cache_dir: Path = _setting(
        Path("~/.cache/sesame"), "folder for this machine's measurements, TensorRT plans, and bundles of a store"
    )
    max_wait_ms: int = _setting(2000, "a request is rejected if its predicted time to an answer is longer", 1, 600_000)
    remember_images: int = _setting(0, "answers kept for images that are sent again, for each model version", 0)
    max_batch: int = _setting(32, "limit on the images in a batch; the fastest size up to it is measured", 1)
    decode_threads: int = _setting(0, "threads that decode images; 0: one for each core", 0, 256)
    engine_threads: int = _setting(0, "threads of the CPU engine; 0: one for each core", 0, 256)
    engine_limit_s: int = _setting(
        60, "an engine that takes longer for a batch hangs: the process ends and must be started again", 1, 3600
    )
    decode_limit_s: int = _setting(10, "an image that takes longer to decode is rejected", 1, 3600)
    default_timeout_ms: int = _setting(30_000, "time limit of requests that set none", 1, 600_000)
    max_timeout_ms: int = _setting(60_000, "longest time limit that a request may set", 1, 600_000)
    explain: bool = _setting(True, "answer POST /explain, in a process of its own that is started by the first of them")
    shadow_percent: int = _setting(
        1, "part of the time in which a shadow may compute copies of photos; 0: no shadow computes", 0, 100
    )
    drain_delay_s: int = _setting(0, "time to accept more requests after SIGTERM, while not ready", 0, 3600)
    drain_limit_s: int = _setting(30, "time for admitted requests to be answered after that", 0, 3600)
    log_level: str = _setting("info", "debug, info, warning or error")
    log_format: str = _setting("text", "text or json: an object a line")
    otlp_endpoint: str = _setting(
        "",
        "URL of an OpenTelemetry collector that gets traces, such as http://localhost:4318; without it there are none",
    )
    trace_share: float = _setting(1.0, "part of the requests without a trace of their caller that begin one", 0, 1)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_range(field, getattr(self, field.name))
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise SettingsError(f"{name} must be {_either(known)}, not {getattr(self, name)!r}.")
        if self.fronts not in (0, "auto") and sys.platform != "linux":
            raise SettingsError("fronts needs Linux: serve with one process, --fronts 0.")
        if self.shared_memory and (self.fronts not in (0, "auto") or sys.platform != "linux"):
            raise SettingsError("shared_memory needs Linux, and one process: --fronts 0.")
        if "/" in self.shared_memory or self.shared_memory.startswith("."):
            raise SettingsError("shared_memory is the beginning of names in /dev/shm, such as sesame-: without / and .")
        if self.admin_token and len(self.admin_token) < 16:
            raise SettingsError("admin_token must have at least 16 characters: make one with 'openssl rand -hex 16'.")
        if self.otlp_endpoint:
            _check_collector(self.otlp_endpoint)
        if self.admin_token and self.admin_token_file:
            raise SettingsError("admin_token and admin_token_file are two places for one token: give one of them.")
        if self.default_timeout_ms > self.max_timeout_ms:
            raise SettingsError("default_timeout_ms must be at most max_timeout_ms.")
        if self.receive_bytes < 2 * max(self.max_request_bytes, self.max_image_bytes):
            raise SettingsError("receive_bytes must be at least twice max_request_bytes and max_image_bytes.")
        if self.queue_images < self.max_images:
            raise SettingsError("queue_images must be at least max_images: larger requests could never be admitted.")
        self._check_network()

    def tls_files(self) -> TlsFiles | None:
        """None without TLS."""
        if not self.tls_cert:
            return None
        client_ca = Path(self.tls_client_ca).expanduser() if self.tls_client_ca else None
        return TlsFiles(Path(self.tls_cert).expanduser(), Path(self.tls_key).expanduser(), client_ca)

    def _check_network(self) -> None:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise SettingsError("tls_cert and tls_key belong together: give both, or neither.")
        if self.tls_client_ca and not self.tls_cert:
            raise SettingsError("tls_client_ca needs TLS: give tls_cert and tls_key too.")
        if self.uds and sys.platform == "win32":
            raise SettingsError("uds needs Unix sockets: listen on http_port alone.")
        if self.root_path and not _ROOT_PATH.fullmatch(self.root_path):
            raise SettingsError(f"root_path must be like /sesame, without a slash at its end, not {self.root_path!r}.")
        for origin in filter(None, self.cors_origins.split(",")):
            if not _ORIGIN.fullmatch(origin.strip()):
                raise SettingsError(
                    f"cors_origins has {origin!r}: give origins such as https://app.example.org, without a path, or *."
                )
        try:
            Proxies(self.trusted_proxies)
        except ValueError as error:
            raise SettingsError(f"{error}.") from error


def folder_or_url(text: str) -> Path | str:
    """What a text means as the place of a model repository."""
    return text if is_url(text) else Path(text)


class SettingsError(Exception):
    """A setting cannot be used. The message says which, and what it may be."""


def _check_range(field: "dataclasses.Field[Any]", value: Any) -> None:
    least, most, word = field.metadata["least"], field.metadata["most"], field.metadata["word"]
    if word and value == word:
        return
    if (least is not None and not value >= least) or (most is not None and not value <= most):  # NaN is neither
        raise SettingsError(f"{field.name} must be {_range(least, most)}, not {value}.")


def _check_collector(endpoint: str) -> None:
    """Raises SettingsError where traces cannot be sent there."""
    try:
        url = urlsplit(endpoint)
        usable = url.scheme in ("http", "https") and url.hostname and (url.port is None or url.port > 0)
    except ValueError:
        usable = False
    if not usable or url.username or url.query or url.fragment or not endpoint.isascii() or not endpoint.isprintable():
        raise SettingsError("otlp_endpoint must be http://HOST:PORT, where a collector takes OTLP over HTTP.")
    try:
        found = importlib.util.find_spec("opentelemetry.proto.collector")
    except ImportError:
        found = None
    if not found:
        raise SettingsError("otlp_endpoint needs the package opentelemetry-proto: pip install 'sesame[traces]'.")


def _range(least: int | None, most: int | None) -> str:
    return f"at least {least}" if most is None else f"from {least} to {most}"
