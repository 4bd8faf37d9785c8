"""Settings: everything an operator can choose, each an option `--name` and an environment variable `SESAME_NAME`."""

import argparse
import dataclasses
import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_MIB = 1 << 20
_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
_OF_A_SERVICE = re.compile(r"(PORT|SERVICE)_.+|.+_PORT_[0-9]+_(TCP|UDP|SCTP)(_.+)?|.+_SERVICE_(HOST|PORT)(_.+)?")


_CHOICES = {
    "engine": ("auto", "tensorrt", "onnxruntime-cuda", "onnxruntime-cpu", "openvino-cpu"),
    "precision": ("auto", "fp32", "bf16", "fp16", "int8", "fp8"),
    "log_level": ("debug", "info", "warning", "error"),
}


def _setting(default: Any, help: str, least: int | None = None, most: int | None = None) -> Any:
    return dataclasses.field(default=default, metadata={"help": help, "least": least, "most": most})


@dataclass(frozen=True)
class Settings:
    """Lengths of time end in `_ms` or `_s`, sizes in `_bytes`. 0 threads: as many as there are cores to use."""

    host: str = _setting("127.0.0.1", "address or name to listen on; :: is all of IPv6 and IPv4")
    http_port: int = _setting(8000, "port of REST; 0 takes a free one", 0, 65535)
    grpc_port: int = _setting(8001, "port of gRPC; 0 takes a free one", 0, 65535)
    bundles: Path = _setting(Path("bundles"), "folder of the bundles to serve")
    default_model: str = _setting("", "the model of requests that name none")
    keep_versions: int = _setting(1, "newest versions of each model to serve, besides those named; 0 serves all", 0)
    watch_s: int = _setting(0, "time between looks for new bundles; 0 never looks", 0, 86_400)
    admin_token: str = _setting("", "what callers of /admin must know; without one there is no /admin")
    keep_going: bool = _setting(False, "serve even though a model has no version that loads at the start")
    strict_readiness: bool = _setting(False, "ready only while every model answers, instead of any")
    max_image_bytes: int = _setting(20 * _MIB, "largest encoded image", 1, 1 << 30)
    max_request_bytes: int = _setting(64 * _MIB, "largest request", 1, 1 << 30)
    receive_bytes: int = _setting(512 * _MIB, "most bytes of requests at a time, over all connections", 1, 1 << 40)
    max_connections: int = _setting(4096, "most connections of each face", 1, 1 << 20)
    max_pixels: int = _setting(50_000_000, "largest image by its header, width x height", 1, 89_478_485)
    exact_pixels: bool = _setting(False, "resize as in training, pixel for pixel, instead of fast")
    max_images: int = _setting(64, "most images in a request", 1)
    queue_images: int = _setting(256, "most images admitted and not yet answered, for each model version", 1)
    engine: str = _setting(
        "auto", "auto (the fastest that is proven), tensorrt, onnxruntime-cuda, onnxruntime-cpu or openvino-cpu"
    )
    precision: str = _setting("auto", "auto (the fastest that is proven), fp32, bf16, fp16, int8 or fp8")
    build_plans: bool = _setting(True, "build the plans that TensorRT lacks, while another engine serves")
    cache_dir: Path = _setting(Path("~/.cache/sesame"), "folder for what this machine measured once")
    max_wait_ms: int = _setting(2000, "longest predicted time to an answer that is admitted", 1, 600_000)
    remember_images: int = _setting(0, "answers remembered by the photo's bytes, for each model version", 0)
    max_batch: int = _setting(32, "most images in a batch; the engine's own best is found up to it", 1)
    decode_threads: int = _setting(0, "threads that decode photos", 0, 256)
    engine_threads: int = _setting(0, "threads of the CPU engine", 0, 256)
    engine_limit_s: int = _setting(
        60, "a batch that takes longer hangs: the process ends, to be started again", 1, 3600
    )
    decode_limit_s: int = _setting(10, "a photo that takes longer to decode is given up", 1, 3600)
    default_timeout_ms: int = _setting(30_000, "deadline of requests that set none", 1, 600_000)
    max_timeout_ms: int = _setting(60_000, "longest deadline that a request may set", 1, 600_000)
    drain_delay_s: int = _setting(0, "time to go on taking work after SIGTERM, while not ready", 0, 3600)
    drain_limit_s: int = _setting(30, "time that accepted work has to end after that", 0, 3600)
    log_level: str = _setting("info", "debug, info, warning or error")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_range(field, getattr(self, field.name))
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise SettingsError(
                    f"{name} must be {', '.join(known[:-1])} or {known[-1]}, not {getattr(self, name)!r}."
                )
        if self.admin_token and len(self.admin_token) < 16:
            raise SettingsError("admin_token must have at least 16 characters: make one with 'openssl rand -hex 16'.")
        if self.default_timeout_ms > self.max_timeout_ms:
            raise SettingsError("default_timeout_ms must be at most max_timeout_ms.")
        if self.receive_bytes < 2 * max(self.max_request_bytes, self.max_image_bytes):
            raise SettingsError("receive_bytes must be at least twice max_request_bytes and max_image_bytes.")
        if self.queue_images < self.max_images:
            raise SettingsError("queue_images must be at least max_images, or full requests could never be admitted.")


class SettingsError(Exception):
    """A setting cannot be used; the message names it and what it may be."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """One option for each setting; a switch that is on by itself is turned off by `--no-…`."""
    for field in dataclasses.fields(Settings):
        option = f"--{field.name.replace('_', '-')}"
        help = f"{field.metadata['help']} (default: {field.default or 'none'}; SESAME_{field.name.upper()})"
        if field.type is bool:
            switch, value = (option.replace("--", "--no-", 1), "false") if field.default else (option, "true")
            parser.add_argument(switch, dest=field.name, action="store_const", const=value, help=help)
        else:
            parser.add_argument(option, help=help, metavar="VALUE")


def read(options: Mapping[str, str | None], environment: Mapping[str, str]) -> Settings:
    """Settings from parsed options, which win, and the environment.

    Raises SettingsError for a value out of range or of the wrong kind, and for a SESAME_ variable that is none. What
    Kubernetes sets for a Service whose name begins with "sesame" is passed over.
    """
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    prefixed = {
        key.removeprefix("SESAME_").lower(): value
        for key, value in environment.items()
        if key.startswith("SESAME_") and not _of_a_service(key, value, fields)
    }
    unknown = prefixed.keys() - fields
    if unknown:
        raise SettingsError(f"There is no setting SESAME_{min(unknown).upper()}: see --help for the known ones.")
    texts = prefixed | {key: value for key, value in options.items() if value is not None}
    return Settings(**{name: _parsed(fields[name], text) for name, text in texts.items()})


def _of_a_service(key: str, value: str, fields: Collection[str]) -> bool:
    """Whether Kubernetes set this variable, as it does in each pod for the Services of its namespace."""
    name = key.removeprefix("SESAME_")
    if name.lower() in fields:
        address = name.endswith("_PORT") and _ADDRESS.match(value) is not None
        if address:
            log.warning("%s=%s is passed over: it is a Service's address, no port to listen on", key, value)
        return address
    return _OF_A_SERVICE.fullmatch(name) is not None or (name.endswith("PORT") and _ADDRESS.match(value) is not None)


def _parsed(field: "dataclasses.Field[Any]", text: str) -> Any:
    if field.type is bool:
        if text.lower() not in ("true", "false", "1", "0"):
            raise SettingsError(f"{field.name} must be true or false, not {text!r}.")
        return text.lower() in ("true", "1")
    if field.type is int:
        try:
            return int(text)
        except ValueError:
            raise SettingsError(f"{field.name} must be a whole number, not {text!r}.") from None
    return Path(text) if field.type is Path else text.strip()  # a file that holds a token ends in a newline


def _check_range(field: "dataclasses.Field[Any]", value: Any) -> None:
    least, most = field.metadata["least"], field.metadata["most"]
    if (least is not None and value < least) or (most is not None and value > most):
        raise SettingsError(f"{field.name} must be {_range(least, most)}, not {value}.")


def _range(least: int | None, most: int | None) -> str:
    return f"at least {least}" if most is None else f"from {least} to {most}"
