"""TLS: which certificate the server shows, and whose clients come in; files that change are read anew."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

if TYPE_CHECKING:
    from pathlib import Path

RSA_BITS_MINIMUM = 2048


class TlsUnusable(Exception):
    """A certificate or key cannot be used; the message names the file, and says why and what to do."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the server's certificates, its own first; its key; whose clients come in, None for all."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    def stamp(self) -> tuple[object, ...]:
        """Return what changes when a file does."""
        return tuple(_stamp(path) for path in (self.cert, self.key, self.client_ca) if path is not None)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that was found usable.

    Args:
        names: hosts that it is for.
        end_time: when it expires.
        is_self_signed: clients trust it by naming the certificate itself.
    """

    configuration: grpc.ServerCertificateConfiguration
    names: tuple[str, ...]
    end_time: datetime
    is_self_signed: bool


class Certificates:
    """Gives new connections the certificate that is in the files now, or the last one that was usable.

    Raises:
        TlsUnusable: the files are not usable at the start.
    """

    def __init__(self, files: TlsFiles) -> None:
        self.files = files
        self._lock = threading.Lock()
        # Before the files are read: what changes meanwhile is read again.
        self._stamp = files.stamp()
        self.current = read(files)

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials for one port, which follow the files."""
        # The published types do not know that None means no change.
        changed: Any = self._changed
        return grpc.dynamic_ssl_server_credentials(
            self.current.configuration,
            changed,
            require_client_authentication=self.files.client_ca is not None,
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what counts from now on, None for no change; a thread of gRPC asks before each handshake."""
        with self._lock:
            stamp = self.files.stamp()
            if stamp == self._stamp:
                return None
            self._stamp = stamp
            log = structlog.get_logger("steelyard.tls")
            try:
                self.current = read(self.files)
            except TlsUnusable as error:
                log.error("The old certificate stays in use.", why=str(error))  # noqa: TRY400 - it says all
                return None
            log.info("certificate", names=self.current.names, end_time=f"{self.current.end_time:%Y-%m-%d}")
            return self.current.configuration


def read(files: TlsFiles) -> Certificate:
    """Read the files and check that gRPC can serve with them.

    Raises:
        TlsUnusable: it cannot, or clients would refuse it.
    """
    chain, key = _bytes(files.cert, setting="tls_cert"), _bytes(files.key, setting="tls_key")
    own = _certificates(chain, path=files.cert, setting="tls_cert")[0]
    if not _fits(own, _private_key(key, path=files.key)):
        raise TlsUnusable(
            f"The key {files.key} (tls_key) does not fit the first certificate in {files.cert} (tls_cert). "
            "Name the pair that was issued together; the server's own certificate comes before its issuers."
        )
    _check_time(own, path=files.cert)
    roots = None
    if files.client_ca is not None:
        roots = _bytes(files.client_ca, setting="tls_client_ca")
        _certificates(roots, path=files.client_ca, setting="tls_client_ca")
    return Certificate(
        grpc.ssl_server_certificate_configuration([(key, chain)], roots),
        names=_names(own),
        end_time=own.not_valid_after_utc,
        is_self_signed=own.issuer == own.subject,
    )


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino


def _bytes(path: Path, *, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsUnusable(
            f"{path} ({setting}) cannot be read: {error.strerror}. Name a PEM file that the server may read."
        ) from None


def _certificates(data: bytes, *, path: Path, setting: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise TlsUnusable(
            f"{path} ({setting}) is not made of certificates in PEM form, which begin with "
            "-----BEGIN CERTIFICATE-----. Name such a file; `openssl x509 -inform der` converts another form."
        ) from None


def _private_key(data: bytes, *, path: Path) -> Any:
    """Return the key, of a kind that gRPC can serve with; with others each handshake would fail."""
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:
        raise TlsUnusable(
            f"{path} (tls_key) is encrypted, and nobody could type its passphrase. Decrypt it with "
            "`openssl pkey`, into a file that only the server may read."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise TlsUnusable(
            f"{path} (tls_key) holds no private key in PEM form, which begins with "
            "-----BEGIN PRIVATE KEY-----. Name such a file."
        ) from None
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1 | SECP384R1):
        return key
    if isinstance(key, RSAPrivateKey) and key.key_size >= RSA_BITS_MINIMUM:
        return key
    raise TlsUnusable(
        f"{path} (tls_key) is of a kind with which gRPC does not serve. Have a certificate issued for a key "
        f"on the curve P-256 or P-384, or an RSA key of at least {RSA_BITS_MINIMUM} bits."
    )


def _fits(certificate: x509.Certificate, key: Any) -> bool:
    try:
        return bool(certificate.public_key() == key.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return False


def _check_time(certificate: x509.Certificate, *, path: Path) -> None:
    begin, end, now = certificate.not_valid_before_utc, certificate.not_valid_after_utc, datetime.now(UTC)
    if end < now:
        raise TlsUnusable(
            f"The certificate in {path} (tls_cert) expired on {end:%Y-%m-%d}, and every client would refuse "
            "it. Have it renewed, or check the clock of this machine."
        )
    if begin > now:
        raise TlsUnusable(
            f"The certificate in {path} (tls_cert) is valid from {begin:%Y-%m-%d %H:%M} UTC on, and every "
            "client would refuse it. Check the clock of this machine."
        )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    addresses = found.get_values_for_type(x509.IPAddress)
    return (*found.get_values_for_type(x509.DNSName), *(str(address) for address in addresses))
