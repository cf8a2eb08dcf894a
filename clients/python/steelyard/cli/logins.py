"""``steelyard login`` and ``logout``: what you log in with, kept for each server, readable for you only."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steelyard.cli import contexts, output, session

if TYPE_CHECKING:
    from steelyard.device_login import Login, Prompt, Provider

# A login that ends within this time is renewed before it is sent.
EARLY_SECONDS = 60.0
# How long a command waits for another one that renews a login, which asks its provider twice.
WAIT_SECONDS = 60.0


def register(app: typer.Typer) -> None:
    """Add the commands, which are in no group."""
    app.command("login")(login)
    app.command("logout")(logout)


def login(
    context: typer.Context,
    token: Annotated[
        bool, typer.Option("--token", help="Read a token, hidden or from a pipe, instead of a browser.")
    ] = False,
    issuer: Annotated[str, typer.Option(help="Where to log in, when the server takes several.")] = "",
    json: output.Json = False,
) -> None:
    """Log in to the server, for all commands that follow.

    Without --token you confirm in a browser, on any machine, that it is you. With --json it prints what
    whoami --json does.
    """
    found = session.of(context)
    kept: dict[str, Any] = {"token": _read_token()} if token else _log_in(found, issuer=issuer)
    with found.client(token=kept["token"]) as client:
        identity = client.access.identity()
    if not identity.actor.authenticated:
        output.changed("This server wants no login; nothing was kept.", identity.message, json=json)
        return
    with _alone():
        _save(_load() | {found.address(): kept})
    by = "" if token else f", by a login at {kept['issuer']} for {kept['audience']}"
    said = f"You are {identity.actor.id} on {found.address()}{by}; steelyard whoami says what you may do."
    output.changed(said, identity.message, json=json)
    if os.environ.get("STEELYARD_TOKEN"):
        output.note("The variable STEELYARD_TOKEN is set and goes before this login; unset it.")


def logout(context: typer.Context, json: output.Json = False) -> None:
    """Forget what you log in to the server with.

    A token stays good until it is revoked: steelyard tokens revoke UID.
    """
    address = session.of(context).address()
    with _alone():
        known = _load()
        was_kept = known.pop(address, None) is not None
        if was_kept:
            _save(known)
    if json:
        output.facts_json({"server": address, "forgotten": was_kept})
        return
    output.note(f"The login to {address} is forgotten." if was_kept else f"No login to {address} was kept.")


def token_for(address: str) -> str:
    """Return what was kept for a server, renewed when it ended; empty when nothing was.

    Raises:
        Unauthenticated: it ended and cannot be renewed.
        ProviderUnreachable: it ended, and nobody answers who could renew it.
    """
    kept = _load().get(address)
    if not kept or _is_good(kept):
        return str(kept["token"]) if kept else ""
    with _alone():
        # Another command may have renewed it meanwhile, and what a login is renewed with may be good once.
        kept = _load().get(address)
        if not kept or _is_good(kept):
            return str(kept["token"]) if kept else ""
        return _renewed(address, kept)


def _is_good(kept: dict[str, Any]) -> bool:
    return bool(time.time() < kept.get("expire_time", float("inf")) - EARLY_SECONDS)


def path() -> Path:
    """Return where logins are kept, beside the contexts."""
    return contexts.path().with_name("logins.json")


def _read_token() -> str:
    given = typer.prompt("Token", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    found = str(given).strip()
    if not found:
        raise typer.BadParameter("No token came; write it into the standard input.")
    return found


def _log_in(found: session.Session, *, issuer: str) -> dict[str, Any]:
    from steelyard import device_login

    provider = _provider(found, issuer=issuer)
    return _kept(device_login.log_in(provider, show=partial(_show, provider)), provider)


def _provider(found: session.Session, *, issuer: str) -> Provider:
    """Return the provider to log in at, which the server names.

    Raises:
        BadParameter: there is none, or there are several.
    """
    from steelyard.device_login import Provider

    with found.client(token="") as client:
        info = client.server_info()
    offered = {each.url: each for each in info.issuers if each.client_id}
    if not offered:
        what = "takes tokens only: steelyard login --token" if info.authentication else "wants no login"
        raise typer.BadParameter(f"The server {found.address()} {what}.")
    if issuer not in offered and (issuer or len(offered) > 1):
        raise typer.BadParameter(f"Say where to log in with --issuer: {', '.join(sorted(offered))}.")
    chosen = offered[issuer or next(iter(offered))]
    return Provider(chosen.url, chosen.audience, chosen.client_id, tuple(chosen.scopes))


def _show(provider: Provider, prompt: Prompt) -> None:
    output.note(
        f"Open {prompt.address} in a browser and confirm the code {prompt.code}, to log in at {provider.url} "
        f"for {provider.audience}. Waiting …"
    )


def _kept(found: Login, provider: Provider) -> dict[str, Any]:
    return {
        "token": found.token,
        "expire_time": found.expire_time,
        "refresh_token": found.refresh_token,
        "issuer": provider.url,
        "audience": provider.audience,
        "client_id": provider.client_id,
    }


def _renewed(address: str, kept: dict[str, Any]) -> str:
    from steelyard import device_login

    if not kept.get("refresh_token"):
        raise device_login.over(f"Your login to {address} ended.")
    provider = device_login.Provider(kept["issuer"], kept["audience"], kept["client_id"])
    try:
        found = device_login.renew(provider, kept["refresh_token"])
    except device_login.ProviderUnreachable:
        raise
    except device_login.LoginFailed as error:
        raise device_login.over(f"Your login to {address} ended and could not be renewed. {error}") from None
    _save(_load() | {address: _kept(found, provider)})
    return found.token


@contextmanager
def _alone() -> Iterator[None]:
    """Keep other commands from renewing logins and changing their file, until the block ends.

    Raises:
        ProviderUnreachable: another command has kept this one from it for too long.
    """
    from filelock import FileLock, Timeout

    file = path().with_suffix(".lock")
    lock = FileLock(file, timeout=WAIT_SECONDS, mode=0o600)
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.acquire()
    except Timeout:
        from steelyard.device_login import ProviderUnreachable

        message = f"Another command has held {file} for {WAIT_SECONDS:g} seconds. Try again later."
        raise ProviderUnreachable(message) from None
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be used: {error}. Let yourself write there.") from None
    try:
        yield
    finally:
        lock.release()


def _load() -> dict[str, Any]:
    try:
        known = json.loads(path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path()} cannot be read: {error}. Mend or remove it.") from None
    is_known = isinstance(known, dict) and all(
        isinstance(each, dict) and isinstance(each.get("token"), str) for each in known.values()
    )
    if not is_known:
        raise typer.BadParameter(f"{path()} has no token for each server. Mend or remove it.")
    return dict(known)


def _save(known: dict[str, Any]) -> None:
    """Write all logins into a file that was never readable for others."""
    file = path()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            json.dump(known, stream, indent=2, sort_keys=True)
            stream.flush()
            # What a login is renewed with may be nowhere else.
            os.fsync(stream.fileno())
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)
