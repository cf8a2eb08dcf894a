"""Tokens in the client: sent with every call, shown nowhere, and refused with errors of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import steelyard
from steelyard import errors, reasons
from tests.servers import ServerProcess, server_process


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, str]]:
    """Run a server that wants a login, and read the token that it prints."""
    with server_process(tmp_path_factory.mktemp("guarded") / "data", "--auth", "tokens") as server:
        yield server, server.first_token()


def test_a_token_is_read_from_the_variable_and_sent_with_every_call(
    guarded: tuple[ServerProcess, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, token = guarded
    monkeypatch.setenv("STEELYARD_TOKEN", token)
    with steelyard.Client(server.address, actor="somebody else") as client:
        told = client.access.identity()
        assert (told.actor.id, told.actor.authenticated) == ("user:admin", True)
        assert [(each.role, each.scope) for each in told.grants] == [("admin", "")]
        made = client.access.create_token("user:ada", lifetime_seconds=60)
        assert made.secret not in repr(made)
        assert token not in repr(vars(client))
    with steelyard.Client(server.address, token=made.secret) as ada:
        assert ada.who_am_i().id == "user:ada"
        with pytest.raises(reasons.PermissionMissing):
            ada.models.create("fraud")


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        ("", reasons.TokenRequired),
        ("steelyard_0", reasons.TokenMalformed),
    ],
)
def test_without_a_good_token_the_error_says_so_and_does_not_repeat_it(
    guarded: tuple[ServerProcess, str], token: str, kind: type[errors.SteelyardError]
) -> None:
    server, _ = guarded
    with (
        steelyard.Client(server.address, token=token) as client,
        pytest.raises(errors.Unauthenticated) as refused,
    ):
        client.models.create("fraud")
    assert isinstance(refused.value, kind)
    assert not token or token not in str(refused.value)


@pytest.mark.parametrize("token", ["steelyard_a b", "steelyard_é", "steelyard_\n", "steel yard"])
def test_what_cannot_be_a_token_is_refused_here_and_not_repeated(token: str) -> None:
    with pytest.raises(errors.InvalidArgument) as refused:
        steelyard.Client("localhost", token=token)
    assert token.strip() not in str(refused.value)
