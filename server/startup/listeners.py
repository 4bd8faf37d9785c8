"""Listeners: the sockets of HTTP, which one process opens and others inherit."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from server.host.listening import bracketed, listen
from server.network.unix_socket import UnixSocket
from server.settings import Settings


@dataclass(frozen=True)
class Listeners:
    """`http` and `unix` are REST's, `admin` is the admin port's. `own_file`: that of `unix`, if made here."""

    http: socket.socket
    admin: socket.socket | None
    unix: socket.socket | None
    own_file: UnixSocket | None = None

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Raises CannotListen."""
        http = listen(settings.host, settings.http_port)
        admin = None
        if isinstance(settings.admin_port, int):
            admin = listen(settings.admin_host, settings.admin_port, "--admin-port")
        file = UnixSocket(Path(settings.uds).expanduser()) if settings.uds else None
        return cls(http, admin, file.listener if file else None, file)

    @classmethod
    def inherited(cls, descriptors: tuple[int, int, int]) -> Self:
        """From what `descriptors` says of those that another process has opened."""
        http, admin, unix = [socket.socket(fileno=number) if number >= 0 else None for number in descriptors]
        assert http, "REST always has a port. This is a bug."
        return cls(http, admin, unix)

    def descriptors(self) -> tuple[int, int, int]:
        """Of `http`, `admin` and `unix`; -1 where there is none."""
        http, admin, unix = [each.fileno() if each else -1 for each in (self.http, self.admin, self.unix)]
        return http, admin, unix

    def of_rest(self) -> list[socket.socket]:
        return [self.http, self.unix] if self.unix else [self.http]

    def close(self) -> None:
        """The file of the Unix socket is removed where this process has made it."""
        self.http.close()
        if self.admin:
            self.admin.close()
        if self.own_file:
            self.own_file.close()
        elif self.unix:
            self.unix.close()

    def line(self, settings: Settings, grpc_port: int) -> str:
        """Where the server listens, for the log."""
        scheme, host = "https" if settings.tls_cert else "http", bracketed(settings.host)
        parts = [f"http={scheme}://{host}:{self.http.getsockname()[1]}", f"grpc={host}:{grpc_port}"]
        if self.admin:
            parts.append(f"admin={scheme}://{bracketed(settings.admin_host)}:{self.admin.getsockname()[1]}")
        if self.unix:
            parts.append(f"uds={settings.uds}")
        return " ".join(parts)
