"""Certificates for tests: an authority of their own, files that can be replaced as an operator would."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import grpc
import trustme

LOOPBACK = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Pair:
    """Files of a certificate and its key, and who issued it."""

    cert: Path
    key: Path
    ca: Path

    @property
    def serve(self) -> tuple[str, ...]:
        """Return the flags of a server that shows it."""
        return ("--tls-cert", str(self.cert), "--tls-key", str(self.key))

    @property
    def own(self) -> dict[str, Path]:
        """Return the arguments of a client that shows it."""
        return {"tls_cert": self.cert, "tls_key": self.key}


@dataclass(frozen=True)
class Authority:
    """An authority that issues certificates into a directory."""

    issuer: trustme.CA
    directory: Path
    file: Path

    def issue(
        self, name: str, *hosts: str, until: datetime | None = None, since: datetime | None = None
    ) -> Pair:
        """Issue a certificate for *hosts*, or the loopback, into files that begin with *name*."""
        made = self.issuer.issue_cert(
            *(hosts or LOOPBACK), common_name=name, not_after=until, not_before=since
        )
        chain = b"".join(part.bytes() for part in made.cert_chain_pems)
        pair = Pair(self.directory / f"{name}.pem", self.directory / f"{name}.key", self.file)
        pair.cert.write_bytes(chain)
        pair.key.write_bytes(made.private_key_pem.bytes())
        return pair


def authority(directory: Path, name: str = "ca") -> Authority:
    """Make an authority whose certificate is *name*.pem."""
    issuer = trustme.CA(organization_name=name)
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{name}.pem"
    issuer.cert_pem.write_to_path(str(file))
    return Authority(issuer, directory, file)


def put(new: Path, place: Path) -> None:
    """Put a file in place of another in one step, as tools that renew certificates do."""
    aside = place.with_suffix(".new")
    aside.write_bytes(new.read_bytes())
    aside.replace(place)


def channel(address: str, pair: Pair, client: Pair | None = None) -> grpc.aio.Channel:
    """Open a channel with a connection of its own."""
    key, cert = (client.key.read_bytes(), client.cert.read_bytes()) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(pair.ca.read_bytes(), key, cert)
    return grpc.aio.secure_channel(
        address, credentials, options=[("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    )
