"""A client and TLS: it works, or ends soon with a sentence that says what does not fit, and what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import steelyard
from steelyard import errors
from tests.certificates import Authority, Pair, authority, put
from tests.client.proxies import proxy
from tests.client.test_watch import Reader
from tests.client.trees import tree_of, write_tree
from tests.client.waiting import until
from tests.servers import ServerProcess, server_process

FILES = {"weights.bin": bytes(range(256)) * 8192, "config.json": b"{}"}
LONG_SECONDS = 60


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("foreign"))


@pytest.fixture(scope="module")
def ada(ours: Authority) -> Pair:
    return ours.issue("ada")


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, ours: Authority) -> Iterator[ServerProcess]:
    """Run a server with TLS."""
    with server_process(tmp_path_factory.mktemp("tls") / "data", *ours.issue("server").serve) as started:
        yield started


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory, ours: Authority) -> Iterator[ServerProcess]:
    """Run a server that wants certificates of its clients."""
    flags = (*ours.issue("mutual").serve, "--tls-client-ca", str(ours.file))
    with server_process(tmp_path_factory.mktemp("mutual") / "data", *flags) as started:
        yield started


def assert_unreachable(address: str, *words: str, **settings: Any) -> None:
    """Check that the first call ends before its time limit, with *words*."""
    with (
        steelyard.Client(address, timeout_seconds=LONG_SECONDS, **settings) as client,
        pytest.raises(errors.Unreachable) as ended,
    ):
        client.server_info()
    for word in (address.removeprefix("https://"), *words):
        assert word in ended.value.message, ended.value.message


def test_models_go_up_and_down_over_tls(secure: ServerProcess, ours: Authority, tmp_path: Path) -> None:
    with steelyard.Client(secure.address, tls_ca=ours.file) as client:
        client.push("fraud", write_tree(tmp_path / "model", FILES), alias="champion")
        client.pull("fraud@champion", tmp_path / "copy")
    assert tree_of(tmp_path / "copy") == FILES


async def test_the_client_for_asyncio_takes_the_same_arguments(mutual: ServerProcess, ada: Pair) -> None:
    async with steelyard.AsyncClient(mutual.address, tls_ca=ada.ca, **ada.own) as client:
        assert (await client.server_info()).registry_uid


def test_variables_say_the_same_and_arguments_outrank_them(
    mutual: ServerProcess, ada: Pair, foreign: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEELYARD_TLS_CA", str(ada.ca))
    monkeypatch.setenv("STEELYARD_TLS_CLIENT_CERT", str(ada.cert))
    monkeypatch.setenv("STEELYARD_TLS_CLIENT_KEY", str(ada.key))
    with steelyard.Client(mutual.address) as client:
        assert client.server_info().registry_uid
    assert_unreachable(mutual.address, "no authority that is trusted", tls_ca=foreign.file)
    assert_unreachable(mutual.address, "If it speaks TLS", tls_ca="", tls_cert="", tls_key="")


def test_a_login_goes_over_tls_also_on_the_second_connection_of_a_watch(
    tmp_path: Path, ours: Authority
) -> None:
    flags = (*ours.issue("server").serve, "--auth", "tokens")
    with server_process(tmp_path / "data", *flags) as child, proxy(child.address) as between:
        settings: Any = {"tls_ca": ours.file, "token": child.first_token()}
        with (
            steelyard.Client(child.address, **settings) as client,
            steelyard.Client(between.address, **settings) as watching,
        ):
            reader = Reader(watching.events.watch("default", heartbeat_seconds=1, after=0))
            client.push("fraud", write_tree(tmp_path / "model", FILES))
            until(lambda: len(reader.sequences) == 3)
            between.stall_after(0, answers=True)
            until(lambda: between.is_stalled)
            client.models.update("fraud", description="other", reason="the last one")
            between.pass_others()
            assert len(reader.join()) == 4
            assert reader.error is None
        nobody = steelyard.Client(child.address, tls_ca=ours.file, token="")
        with nobody, pytest.raises(errors.Unauthenticated):
            nobody.who_am_i()


def test_https_trusts_whom_the_system_trusts(
    secure: ServerProcess, ours: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_unreachable(f"https://{secure.address}", "no authority that is trusted", "--tls-ca")
    monkeypatch.setenv("SSL_CERT_FILE", str(ours.file))
    with steelyard.Client(f"https://{secure.address}") as client:
        assert client.server_info().registry_uid


def test_a_forked_process_speaks_tls_too(secure: ServerProcess, ours: Authority) -> None:
    with steelyard.Client(secure.address, tls_ca=ours.file) as client:
        client.server_info()
        child = os.fork()
        if child == 0:
            with suppress(errors.SteelyardError):
                client.server_info()
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_without_tls_the_sentence_says_how_to_ask_for_it(secure: ServerProcess) -> None:
    assert_unreachable(secure.address, f"call it as https://{secure.address}", "--tls-ca")


def test_a_server_without_tls_is_said_to_have_none(shared: ServerProcess, ours: Authority) -> None:
    assert_unreachable(shared.address, "does not speak TLS", "without https://", tls_ca=ours.file)


def test_another_authority_is_said(secure: ServerProcess, foreign: Authority) -> None:
    assert_unreachable(secure.address, "of no authority", "--tls-ca", tls_ca=foreign.file)


def test_a_certificate_for_another_host_is_said(tmp_path: Path, ours: Authority) -> None:
    elsewhere = ours.issue("elsewhere", "registry.example")
    with server_process(tmp_path / "data", *elsewhere.serve) as child:
        assert_unreachable(child.address, "for another host", "name that is in its", tls_ca=ours.file)


def test_a_certificate_that_is_missing_or_of_others_is_said(
    mutual: ServerProcess, ours: Authority, foreign: Authority
) -> None:
    eve = foreign.issue("eve")
    assert_unreachable(mutual.address, "--tls-cert and --tls-key", tls_ca=ours.file)
    assert_unreachable(mutual.address, "not accept your certificate", tls_ca=ours.file, **eve.own)


def test_an_authority_that_changes_ends_a_push_within_its_patience(
    tmp_path: Path, foreign: Authority
) -> None:
    ours = authority(tmp_path / "ours")
    shown = ours.issue("server")
    with server_process(tmp_path / "data", *shown.serve) as child:
        other = foreign.issue("other")
        put(other.key, shown.key)
        put(other.cert, shown.cert)
        with (
            steelyard.Client(child.address, tls_ca=ours.file, patience_seconds=1) as client,
            pytest.raises(errors.Unreachable, match="no authority that is trusted"),
        ):
            client.push("fraud", write_tree(tmp_path / "model", FILES))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tls_ca": "{missing}"}, "missing cannot be read: No such file"),
        ({"tls_ca": "{garbage}"}, "garbage is not made of certificates in PEM form"),
        ({"tls_ca": "{key}"}, "key is not made of certificates in PEM form"),
        ({"tls_cert": "{missing}", "tls_key": "{key}"}, "missing cannot be read"),
        ({"tls_cert": "{cert}", "tls_key": "{garbage}"}, "issued together"),
        ({"tls_cert": "{cert}", "tls_key": "{other}"}, "issued together"),
    ],
)
def test_files_that_are_not_what_they_should_be_are_refused_at_once(
    tmp_path: Path, ours: Authority, ada: Pair, settings: dict[str, str], words: str
) -> None:
    (tmp_path / "garbage").write_bytes(b"garbage \xff")
    places = {
        "missing": tmp_path / "missing",
        "garbage": tmp_path / "garbage",
        "cert": ada.cert,
        "key": ada.key,
        "other": ours.issue("other").key,
    }
    with pytest.raises(errors.FileUnreadable, match=words):
        steelyard.Client("localhost:1", **{name: text.format(**places) for name, text in settings.items()})


@pytest.mark.parametrize("name", ["tls_cert", "tls_key"])
def test_a_certificate_and_its_key_go_together(ada: Pair, name: str) -> None:
    one: Any = {name: ada.own[name]}
    with pytest.raises(errors.InvalidArgument, match="go together"):
        steelyard.Client("localhost:1", **one)


def test_a_key_is_not_shown_by_accident(ada: Pair) -> None:
    from steelyard import tls

    made = tls.chosen("localhost:1", ca=ada.ca, cert=ada.cert, key=ada.key)
    assert made is not None
    assert made.key == ada.key.read_bytes()
    assert "PRIVATE" not in repr(made)
