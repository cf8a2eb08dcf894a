"""What it costs to find out who calls and what they may do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import fill, sample, servers
from benchmarks.measure import STEELYARD, Row, Run, at_least, child
from benchmarks.rows_metadata import CALLERS, TITLES, Load, cpu_note
from steelyard_server.core import grants, tokens
from steelyard_server.db.database import open_database
from steelyard_server.history.act import Act
from steelyard_server.history.caller import Caller
from tests import issuers

OPEN, OIDC = "Steelyard without logins", "Steelyard, logins of a provider"
GOAL = 0.9
WHO = "user:ada"

_ACT = Act(Caller("benchmark"))


def login(run: Run, *, call: str) -> Row:
    """Measure *call* with tokens, with logins of an identity provider, and where nobody logs in."""
    with ExitStack() as stack:
        provider = issuers.Provider([issuers.rsa_key("first")])
        loads = {
            OPEN: _load(run, stack, call=call),
            STEELYARD: _load(run, stack, call=call, token=tokens.make().text),
            OIDC: _load(run, stack, call=call, token=provider.login("ada"), provider=provider),
        }
        samples = run.in_turn(loads)
    goals = tuple(
        at_least(GOAL, OPEN, samples, subject=name, what=what)
        for name, what in ((STEELYARD, "tokens:"), (OIDC, "logins of a provider:"))
    )
    notes = (
        "the column Steelyard is that of tokens; callers send the same one with each call, as clients do",
        cpu_note(loads),
    )
    return Row(f"{TITLES[call]} with a login, {CALLERS} callers", "calls/s", samples, goals, notes)


def _load(
    run: Run, stack: ExitStack, *, call: str, token: str = "", provider: issuers.Provider | None = None
) -> Load:
    directory = fill.filled(run.directory(), count=sample.SMALL_VERSIONS)
    if token:
        asyncio.run(_let_in(directory / "registry.db", token=token, is_ours=provider is None))
    flags = ["--auth", "tokens"] if token else []
    if provider is not None:
        flags = _flags(directory, provider)
    profile = run.profile(f"login-{call}")
    served = stack.enter_context(servers.steelyard(directory, profile=profile, flags=flags))
    job = {"call": call, "model": sample.MODEL, "callers": CALLERS, "seconds": run.choose(5, 1)}
    return Load(served, partial(child, "load", address=served.address, token=token, floor=False, **job))


async def _let_in(file: Path, *, token: str, is_ours: bool) -> None:
    """Let somebody write, with this token of the registry when it *is_ours*."""
    database = await open_database(file)
    if is_ours:
        uid, digest = tokens.uid_of(token), tokens.digest_of(token)
        await database.write(tokens.create, _ACT, principal=WHO, uid=uid, digest=digest)
    await database.write(grants.grant, _ACT, subject=WHO, role="writer", scope="default")
    await database.close()


def _flags(directory: Path, provider: issuers.Provider) -> list[str]:
    keys = directory / "keys.json"
    keys.write_text(provider.key_set())
    table = {"url": provider.url, "audience": provider.audience, "jwks_file": str(keys)}
    named = issuers.settings(directory, table)
    return ["--auth", named["auth"], "--oidc-issuers", named["oidc_issuers"]]


ROWS: dict[str, Callable[[Run], Row]] = {
    f"login-{call}": partial(login, call=call) for call in ("get", "alias")
}
