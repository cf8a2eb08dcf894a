"""TLS of a real server: who comes in, which certificate is shown, and what happens when files change."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from grpc_health.v1 import health_pb2

from steelyard_server import server as composition
from steelyard_server.config import Config
from tests.certificates import LOOPBACK, Authority, Pair, authority, channel, put
from tests.servers import Running, running_server

SECONDS = 20
REFUSED = 3
Logged = list[Any]


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return authority(tmp_path / "ours")


@pytest.fixture
def foreign(tmp_path: Path) -> Authority:
    return authority(tmp_path / "foreign")


@pytest.fixture
def pair(ours: Authority) -> Pair:
    return ours.issue("server")


@pytest.fixture
def logged() -> Iterator[Logged]:
    """Collect what is logged, from all threads."""
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest_asyncio.fixture
async def tls(tmp_path: Path, pair: Pair, logged: Logged) -> AsyncIterator[Running]:
    """Run a server that shows *pair*."""
    settings = {"tls_cert": str(pair.cert), "tls_key": str(pair.key)}
    async with running_server(tmp_path / "data", **settings) as running:
        yield running


@pytest_asyncio.fixture
async def mutual(tmp_path: Path, pair: Pair, logged: Logged) -> AsyncIterator[Running]:
    """Run a server that lets in who has a certificate of the same authority."""
    settings = {"tls_cert": str(pair.cert), "tls_key": str(pair.key), "tls_client_ca": str(pair.ca)}
    async with running_server(tmp_path / "data", **settings) as running:
        yield running


async def check(connected: grpc.aio.Channel) -> int:
    """Return the state of health."""
    method: Any = connected.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    answer = await method(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    return int(answer.status)


async def comes_in(address: str, pair: Pair, client: Pair | None = None) -> bool:
    async with channel(address, pair, client) as connected:
        try:
            return await check(connected) == health_pb2.HealthCheckResponse.SERVING
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            return False


async def shown(address: str, ca: Path) -> str:
    """Return the common name of the certificate that a new connection is shown."""
    trusting = ssl.create_default_context(cafile=str(ca))
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=trusting)
    subject = writer.get_extra_info("peercert")["subject"]
    writer.close()
    return str(dict(part[0] for part in subject)["commonName"])


def errors(logged: Logged) -> list[str]:
    return [str(entry["why"]) for entry in logged if entry["log_level"] == "error"]


async def test_a_client_that_trusts_the_authority_speaks_to_the_server(
    tls: Running, pair: Pair, foreign: Authority
) -> None:
    assert await comes_in(tls.address, pair)
    assert not await comes_in(tls.address, foreign.issue("server"))
    async with grpc.aio.insecure_channel(tls.address) as plain:
        with pytest.raises(grpc.aio.AioRpcError):
            await check(plain)


async def test_new_connections_see_a_new_certificate_and_old_ones_go_on(
    tls: Running, pair: Pair, ours: Authority, logged: Logged
) -> None:
    async with channel(tls.address, pair) as old:
        await check(old)
        assert await shown(tls.address, pair.ca) == "server"
        new = ours.issue("renewed")
        put(new.key, pair.key)
        put(new.cert, pair.cert)
        assert await shown(tls.address, pair.ca) == "renewed"
        assert await comes_in(tls.address, pair)
        await check(old)
    assert errors(logged) == []
    assert [entry["names"] for entry in logged if entry["event"] == "certificate"] == [LOOPBACK]


async def test_a_half_replaced_pair_waits_for_its_other_half(
    tls: Running, pair: Pair, ours: Authority, logged: Logged
) -> None:
    new = ours.issue("renewed")
    put(new.cert, pair.cert)
    assert await shown(tls.address, pair.ca) == "server"
    put(new.key, pair.key)
    assert await shown(tls.address, pair.ca) == "renewed"
    (why,) = errors(logged)
    assert "does not fit" in why


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("garbage", "is not made of certificates"),
        ("gone", "cannot be read"),
        ("expired", "expired on"),
    ],
)
async def test_a_broken_new_pair_leaves_the_old_one_and_is_said_once(
    tls: Running, pair: Pair, ours: Authority, logged: Logged, damage: str, words: str
) -> None:
    if damage == "garbage":
        pair.cert.write_bytes(b"garbage")
    elif damage == "gone":
        pair.cert.unlink()
    else:
        late = ours.issue("late", since=yesterday(2), until=yesterday(1))
        put(late.key, pair.key)
        put(late.cert, pair.cert)
    for _ in range(3):
        assert await shown(tls.address, pair.ca) == "server"
    (why,) = errors(logged)
    assert words in why
    assert str(pair.cert) in why
    new = ours.issue("renewed")
    put(new.key, pair.key)
    put(new.cert, pair.cert)
    assert await shown(tls.address, pair.ca) == "renewed"


async def test_with_mutual_tls_only_holders_of_a_certificate_come_in(
    mutual: Running, pair: Pair, ours: Authority, foreign: Authority
) -> None:
    assert await comes_in(mutual.address, pair, ours.issue("ada"))
    assert not await comes_in(mutual.address, pair)
    assert not await comes_in(mutual.address, pair, foreign.issue("eve"))
    assert not await comes_in(
        mutual.address, pair, ours.issue("late", since=yesterday(2), until=yesterday(1))
    )


async def test_another_authority_of_clients_is_taken_without_a_restart(
    mutual: Running, pair: Pair, ours: Authority, foreign: Authority
) -> None:
    ada, eve = ours.issue("ada"), foreign.issue("eve")
    trusted = Pair(pair.cert, pair.key, pair.ca.with_name("kept.pem"))
    put(pair.ca, trusted.ca)
    assert await comes_in(mutual.address, trusted, ada)
    put(foreign.file, pair.ca)
    assert await comes_in(mutual.address, trusted, eve)
    assert not await comes_in(mutual.address, trusted, ada)


def yesterday(days: int) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


def pem(key: Any, *, encryption: Any = None) -> bytes:
    data: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    return data


def encrypted(pair: Pair, ours: Authority) -> None:
    key = load_pem_private_key(pair.key.read_bytes(), password=None)
    pair.key.write_bytes(pem(key, encryption=BestAvailableEncryption(b"secret")))


def swapped(pair: Pair, ours: Authority) -> None:
    """Put the issuer before the server's own certificate."""
    pair.cert.write_bytes(pair.ca.read_bytes() + pair.cert.read_bytes())


def replaced(pair: Pair, ours: Authority, **times: datetime) -> None:
    other = ours.issue("other", **times)
    put(other.cert, pair.cert)
    put(other.key, pair.key)


# What is done to the files, and what the refusal says beside their name.
UNUSABLE: dict[str, tuple[Any, list[str]]] = {
    "no certificate": (lambda pair, ours: pair.cert.unlink(), ["cannot be read", "No such file"]),
    "no key": (lambda pair, ours: pair.key.unlink(), ["tls_key", "cannot be read"]),
    "a directory": (lambda pair, ours: (pair.key.unlink(), pair.key.mkdir()), ["cannot be read"]),
    "not PEM": (lambda pair, ours: pair.cert.write_bytes(b"\x30\x82"), ["PEM form", "openssl x509"]),
    "empty": (lambda pair, ours: pair.cert.write_bytes(b""), ["PEM form"]),
    "cut": (lambda pair, ours: pair.cert.write_bytes(pair.cert.read_bytes()[:200]), ["PEM form"]),
    "no key inside": (lambda pair, ours: put(pair.cert, pair.key), ["no private key"]),
    "encrypted": (encrypted, ["encrypted", "openssl pkey"]),
    "unfit": (lambda pair, ours: put(ours.issue("other").key, pair.key), ["does not fit", "issued together"]),
    "issuer first": (swapped, ["does not fit", "before its issuers"]),
    "expired": (
        lambda pair, ours: replaced(pair, ours, since=yesterday(2), until=yesterday(1)),
        ["expired on", "renewed"],
    ),
    "too early": (lambda pair, ours: replaced(pair, ours, since=yesterday(-1)), ["valid from", "clock"]),
    "client CA not PEM": (lambda pair, ours: pair.ca.write_bytes(b"x"), ["tls_client_ca", "PEM form"]),
}


@pytest.mark.parametrize(("damage", "words"), UNUSABLE.values(), ids=UNUSABLE)
async def test_files_that_cannot_be_used_are_refused_at_the_start(
    tmp_path: Path, pair: Pair, ours: Authority, damage: Any, words: list[str]
) -> None:
    damage(pair, ours)
    config = Config(
        data_dir=tmp_path / "data",
        listen="127.0.0.1:0",
        tls_cert=str(pair.cert),
        tls_key=str(pair.key),
        tls_client_ca=str(pair.ca),
    )
    with pytest.raises(composition.CannotListen) as refused:
        await composition.start(config)
    assert str(tmp_path / "ours") in str(refused.value)
    for word in words:
        assert word in str(refused.value)
    assert not config.data_dir.exists()


@pytest.mark.parametrize(
    "key",
    [
        ed25519.Ed25519PrivateKey.generate,
        lambda: ec.generate_private_key(ec.SECP521R1()),
        lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505 - that it is too short is the point
    ],
    ids=["Ed25519", "P-521", "RSA-1024"],
)
async def test_a_key_with_which_grpc_does_not_serve_is_refused(
    tmp_path: Path, ours: Authority, pair: Pair, key: Any
) -> None:
    """Each handshake would fail, and nobody would learn why."""
    pair.key.write_bytes(pem(key()))
    config = Config(data_dir=tmp_path / "data", tls_cert=str(pair.cert), tls_key=str(pair.key))
    with pytest.raises(composition.CannotListen, match=r"P-256.*RSA key of at least 2048"):
        await composition.start(config)


def test_the_command_ends_with_the_sentence(tmp_path: Path, pair: Pair, ours: Authority) -> None:
    put(ours.issue("other").key, pair.key)
    command = [sys.executable, "-m", "steelyard_server", "--data-dir", tmp_path / "data", *pair.serve]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ended.returncode == REFUSED
    assert ended.stderr.startswith("error: The key ")
    assert "Traceback" not in ended.stderr
