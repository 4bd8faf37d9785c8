"""Certificates: a CA of a test's own, what it issues, and clients that trust it. Made by openssl's command line."""

import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

_CONFIG = """
[req]
distinguished_name = name
[name]
[ca]
default_ca = own
[own]
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
copy_extensions = copy
[any]
commonName = supplied
"""
_DAY_S = 86_400.0
HERE = "IP:127.0.0.1,DNS:localhost"


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path

    @property
    def settings(self) -> dict[str, Any]:
        return {"tls_cert": str(self.certificate), "tls_key": str(self.key)}

    def copy_to(self, other: "Issued") -> None:
        """Renew the other's files as a program should: each is replaced as a whole, the key first."""
        for mine, theirs in ((self.key, other.key), (self.certificate, other.certificate)):
            new = theirs.with_suffix(".new")
            new.write_bytes(mine.read_bytes())
            new.replace(theirs)


class Authority:
    """A CA, whose files are in a folder of its own."""

    def __init__(self, folder: Path, name: str = "test CA") -> None:
        folder.mkdir()
        self._folder = folder
        self._config = folder / "openssl.cnf"
        self._config.write_text(_CONFIG.format(folder=folder))
        (folder / "index.txt").write_text("")
        self.certificate, self._key = folder / "ca.pem", folder / "ca.key"
        extensions = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"]
        self._request(self._key, self.certificate, name, extensions, "-x509", "-days", "30")

    def issue(
        self, name: str, addresses: str = HERE, usage: str = "serverAuth", from_days: float = -1, until_days: float = 20
    ) -> Issued:
        """`addresses` and `usage` as openssl writes subjectAltName and extendedKeyUsage; days are counted from now."""
        issued = Issued(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        wanted = self._folder / f"{name}.csr"
        self._request(issued.key, wanted, name, [f"subjectAltName={addresses}", f"extendedKeyUsage={usage}"])
        dates = ["-startdate", _date(from_days), "-enddate", _date(until_days)]
        signer = ["-cert", str(self.certificate), "-keyfile", str(self._key)]
        _openssl("ca", "-batch", "-notext", "-config", str(self._config), *signer, *dates, "-in", str(wanted),
                 "-out", str(issued.certificate))  # fmt: skip
        return issued

    def client(self, issued: Issued | None = None) -> "TlsClient":
        """One that trusts this CA, with a certificate or without."""
        return TlsClient(self.certificate, issued)

    def _request(self, key: Path, out: Path, name: str, extensions: list[str], *more: str) -> None:
        extended = [part for extension in extensions for part in ("-addext", extension)]
        algorithm = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key)]
        _openssl("req", "-config", str(self._config), *algorithm, "-subj", f"/CN={name}", *extended, *more,
                 "-out", str(out))  # fmt: skip


@dataclass(frozen=True)
class TlsClient:
    """How a client sees servers: whom it trusts, and what it shows."""

    authority: Path
    issued: Issued | None = None

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority))
        if self.issued:
            context.load_cert_chain(self.issued.certificate, self.issued.key)
        return context

    def channel(self, port: int, host: str = "127.0.0.1") -> grpc.aio.Channel:
        """A connection of its own, whatever others there are."""
        pair = (self.issued.key.read_bytes(), self.issued.certificate.read_bytes()) if self.issued else (None, None)
        credentials = grpc.ssl_channel_credentials(self.authority.read_bytes(), *pair)
        options = (("grpc.use_local_subchannel_pool", 1),)
        return grpc.aio.secure_channel(f"{host}:{port}", credentials, options=options)


def _date(days: float) -> str:
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + days * _DAY_S))


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
