"""TLS on the side of the caller: whom to trust, what to show, and what a failed handshake means."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from steelyard.errors import FileUnreadable, InvalidArgument

SCHEME = "https://"
# Where systems keep the authorities that they trust. gRPC for Python would take a list of its own instead,
# which lacks the authority that an organisation has added to its machines.
_SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


@dataclass(frozen=True, slots=True)
class Tls:
    """What a channel with TLS is made of; all in PEM form.

    Args:
        roots: authorities to trust; None for those that gRPC brings along.
        cert: the caller's own certificate, if it has one.
    """

    roots: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = field(default=None, repr=False)

    def credentials(self) -> grpc.ChannelCredentials:
        """Return what gRPC makes a channel with."""
        return grpc.ssl_channel_credentials(self.roots, self.key, self.cert)


def chosen(
    server: str, *, ca: str | Path | None, cert: str | Path | None, key: str | Path | None
) -> Tls | None:
    """Read what was named; None when nothing was and *server* does not begin with `https://`.

    Args:
        ca: file of the authorities to trust, as *cert* and *key*: "" for none, None for what a variable says.

    Raises:
        InvalidArgument: a certificate without its key, or the reverse.
        FileUnreadable: a file cannot be read, or is not what it should be.
    """
    ca_file, cert_file, key_file = (
        os.environ.get(f"STEELYARD_TLS_{name}", "") if given is None else str(given)
        for name, given in (("CA", ca), ("CLIENT_CERT", cert), ("CLIENT_KEY", key))
    )
    if bool(cert_file) != bool(key_file):
        raise InvalidArgument(
            "A certificate and its key go together: name both, tls_cert and tls_key, or neither."
        )
    if not (ca_file or cert_file or server.startswith(SCHEME)):
        return None
    if cert_file:
        _check_pair(cert_file, key_file)
    return Tls(
        _authorities(ca_file) if ca_file else _system_roots(),
        _read(cert_file) if cert_file else None,
        _read(key_file) if key_file else None,
    )


def advice(text: str, *, server: str, tls: Tls | None) -> str:
    """Return what to do when connecting to *server* failed with *text*; "" if TLS was not why."""
    for word, sentence in _ADVICE.items():
        if word in text:
            return sentence.format(server=server)
    closed = "failed to connect" in text and ("Socket closed" in text or "reset by peer" in text)
    return _closed(server, tls=tls) if closed else ""


_OTHER_HOST = (
    "The certificate of {server} is for another host. Call the server by a name that is in its certificate, "
    "or have one issued for this name."
)
# By the words of BoringSSL and gRPC; the first that are found count.
_ADVICE = {
    "WRONG_VERSION_NUMBER": (
        "{server} does not speak TLS. Call it without https:// and without a CA or certificate "
        "(--tls-ca, STEELYARD_TLS_CA, --tls-cert), or start it with --tls-cert and --tls-key."
    ),
    "certificate has expired": (
        "The certificate of {server} has expired. Have it renewed, or check the clock of this machine."
    ),
    "CERTIFICATE_VERIFY_FAILED": (
        "The certificate of {server} is of no authority that is trusted here. Name the file of the one that "
        "issued it with --tls-ca (in Python tls_ca, or STEELYARD_TLS_CA)."
    ),
    "Hostname Verification Check failed": _OTHER_HOST,
    "is not in peer certificate": _OTHER_HOST,
}


def _closed(server: str, *, tls: Tls | None) -> str:
    """Say what it may mean that the server closed a connection at its very beginning; it gives no reason."""
    if tls is None:
        advised = f"If it speaks TLS, call it as {SCHEME}{server}, or name its --tls-ca."
    elif tls.cert is None:
        advised = "It may let in only who has a certificate: name yours with --tls-cert and --tls-key."
    else:
        advised = (
            "It may not accept your certificate, which must be valid now and issued by an authority that the "
            "server was started with (--tls-client-ca)."
        )
    return f"{server} closed the connection. {advised}"


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FileUnreadable(f"{path} cannot be read: {error.strerror}. Name a PEM file.") from None


def _authorities(path: str) -> bytes:
    import ssl

    data = _read(path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=data.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise FileUnreadable(
            f"{path} is not made of certificates in PEM form, which begin with -----BEGIN CERTIFICATE-----. "
            "Name the file of the authority that issued the server's certificate."
        ) from None
    return data


def _check_pair(cert: str, key: str) -> None:
    import ssl

    _read(cert), _read(key)
    try:
        # Without the function it would ask the terminal for the passphrase.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password=lambda: "")
    except (ssl.SSLError, ValueError):
        raise FileUnreadable(
            f"{cert} and {key} are no certificate with its key, in PEM form and not encrypted. Name the two "
            "that were issued together."
        ) from None


def _system_roots() -> bytes | None:
    named = os.environ.get("SSL_CERT_FILE")
    if named:
        return _authorities(named)
    return next((_read(path) for path in _SYSTEM_ROOTS if Path(path).is_file()), None)
