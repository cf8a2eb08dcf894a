"""TLS on the command line: options, variables, contexts, and what a server says when it starts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority, Pair, authority
from tests.cli.shell import Shell
from tests.servers import ServerProcess, server_process


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def ada(ours: Authority) -> Pair:
    return ours.issue("ada")


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory, ours: Authority) -> Iterator[ServerProcess]:
    """Run a server that wants certificates of its clients."""
    flags = (*ours.issue("server").serve, "--tls-client-ca", str(ours.file))
    with server_process(tmp_path_factory.mktemp("mutual") / "data", *flags) as started:
        yield started


def options(pair: Pair) -> list[str]:
    return ["--tls-ca", str(pair.ca), "--tls-cert", str(pair.cert), "--tls-key", str(pair.key)]


def variables(pair: Pair) -> dict[str, str]:
    return {
        "STEELYARD_TLS_CA": str(pair.ca),
        "STEELYARD_TLS_CLIENT_CERT": str(pair.cert),
        "STEELYARD_TLS_CLIENT_KEY": str(pair.key),
    }


def test_options_and_variables_say_what_tls_needs(home: Shell, mutual: ServerProcess, ada: Pair) -> None:
    home.ok("--server", mutual.address, *options(ada), "status")
    user = Shell(home.directory, variables(ada) | {"STEELYARD_SERVER": f"https://{mutual.address}"})
    assert user.ok("status").facts["server"] == f"https://{mutual.address}"


def test_a_context_remembers_them_wherever_it_is_used(
    home: Shell, mutual: ServerProcess, ada: Pair, tmp_path: Path
) -> None:
    (tmp_path / "mine.pem").write_bytes(ada.cert.read_bytes())
    (tmp_path / "mine.key").write_bytes(ada.key.read_bytes())
    relative = ["--tls-ca", str(ada.ca), "--tls-cert", "mine.pem", "--tls-key", "mine.key"]
    home.ok("contexts", "add", "bank", mutual.address, *relative)
    (tmp_path / "below").mkdir()
    below = Shell(tmp_path / "below", {"STEELYARD_CONFIG_DIR": str(tmp_path / "config")})
    below.ok("status")
    assert home.ok("contexts", "ls").rows == [["*", "bank", mutual.address, "default"]]


def test_what_a_context_says_of_tls_is_for_its_server_only(
    home: Shell, mutual: ServerProcess, shared: ServerProcess, ada: Pair
) -> None:
    home.ok("contexts", "add", "bank", mutual.address, *options(ada))
    home.ok("contexts", "add", "plain", shared.address)
    home.ok("--server", shared.address, "status")
    Shell(home.directory, {"STEELYARD_SERVER": shared.address}).ok("status")
    for_another = Shell(home.directory, variables(ada) | {"STEELYARD_SERVER": mutual.address})
    for_another.ok("status")
    for_another.ok("--context", "plain", "status")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("--server {plain} --tls-ca {ca} status", 7, "does not speak TLS"),
        ("--server {mutual} status", 7, "call it as https://"),
        ("--server https://{mutual} status", 7, "of no authority that is trusted here"),
        ("--server {mutual} --tls-ca {ca} status", 7, "name yours with --tls-cert and --tls-key"),
        ("--server {mutual} --tls-cert {ca} status", 2, "name both"),
        ("--server {mutual} --tls-ca missing.pem status", 2, "missing.pem cannot be read"),
        ("contexts add bank {mutual} --tls-ca missing.pem", 2, "missing.pem cannot be read"),
        ("contexts add bank {mutual} --tls-key {ca}", 2, "name both"),
        ("contexts add bank https://", 2, "is no address"),
        ("serve --tls-cert {ca}", 2, "tls_cert is set and tls_key is not"),
        ("serve --tls-cert missing.pem --tls-key {ca}", 3, "missing.pem (tls_cert) cannot be read"),
    ],
)
def test_what_does_not_fit_is_a_sentence_and_a_code(
    home: Shell,
    mutual: ServerProcess,
    shared: ServerProcess,
    ours: Authority,
    arguments: str,
    code: int,
    words: str,
) -> None:
    places = {"plain": shared.address, "mutual": mutual.address, "ca": ours.file}
    done = home.run(*(word.format(**places) for word in arguments.split()))
    assert (done.code, done.out) == (code, ""), done.err
    assert words in done.err
    assert "Traceback" not in done.err
    # gRPC would write lines of its own beside the sentence.
    assert len(done.err.splitlines()) == 1, done.err


def test_what_a_server_with_tls_says_at_its_start_works_for_a_client(
    home: Shell, tmp_path: Path, ours: Authority, ada: Pair
) -> None:
    flags = (*ours.issue("named", "localhost").serve, "--tls-client-ca", str(ours.file))
    with server_process(tmp_path / "data", *flags) as child:
        child.stop()
    said = "".join(child.output)
    port = child.address.rpartition(":")[2]
    assert f"listening on {child.address} with TLS" in said
    assert re.search(r"Its certificate is for localhost, until \d{4}-\d\d-\d\d\n", said)
    assert f"Callers need a certificate of {ours.file}." in said
    assert "export STEELYARD_TLS_CA=FILE" in said
    assert "export STEELYARD_TLS_CLIENT_CERT=FILE STEELYARD_TLS_CLIENT_KEY=FILE" in said
    assert f"steelyard --server https://localhost:{port} status" in said
    child.start()
    try:
        Shell(home.directory, variables(ada)).ok("--server", f"https://localhost:{port}", "status")
    finally:
        child.stop()
