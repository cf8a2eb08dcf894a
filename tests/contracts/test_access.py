"""Who may do what: grants follow and end with what they are on, and a transaction looks again."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from steelyard_server import errors
from steelyard_server.core import (
    access,
    comparisons,
    grants,
    groups,
    model_deletions,
    models,
    namespaces,
    requests,
    tokens,
    versions,
)
from steelyard_server.core.access import Demand, Login
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction
from steelyard_server.history.act import Act
from steelyard_server.history.caller import Caller
from steelyard_server.limits import LIMITS
from tests.contracts.registry import FRAUD, act, create, everything, number
from tests.contracts.stored import require_equal

READ_FRAUD = Demand("read", FRAUD)


async def log_in(database: Database, who: str = "user:ada") -> Caller:
    """Make a token for somebody and log in with it."""
    secret = tokens.make()
    await database.write(tokens.create, act(), uid=secret.uid, digest=secret.digest, principal=who)
    return await database.read(access.log_in, uid=secret.uid, digest=secret.digest)


async def log_in_at_provider(database: Database, *, claimed: Sequence[str] = ()) -> Caller:
    """Log in as an identity provider says that somebody may, for another minute."""
    end = time.time_ns() // 1000 + 60_000_000
    login = Login("user:ada", expire_time=end, issuer="https://login.bank.example", groups=tuple(claimed))
    return await database.read(access.entered, login=login)


# Both kinds of logins have rights in one way.
BOTH = pytest.mark.parametrize("enter", [log_in, log_in_at_provider], ids=["token", "provider"])
Enter = Callable[[Database], Awaitable[Caller]]


async def again(database: Database, caller: Caller) -> Caller:
    """Read the rights of a caller anew."""
    return await database.read(access.current, caller, demand=None)


async def grant(database: Database, role: str, scope: str, *, subject: str = "user:ada") -> None:
    await database.write(grants.grant, act(), subject=subject, role=role, scope=scope)


async def granted(database: Database, **wanted: Any) -> list[tuple[str, str, str]]:
    found, _ = await database.read(grants.page, page_size=1000, **wanted)
    return [(each.subject, each.role, each.scope) for each in found]


def allowed(caller: Caller, *scopes: str, permission: str = "read") -> list[str]:
    return [scope for scope in scopes if access.allows(caller, permission, scope)]


@BOTH
async def test_grants_on_a_model_follow_it_and_hold_for_calls_by_its_former_names(
    registry: Database, enter: Enter
) -> None:
    await grant(registry, "reader", "default/FRAUD")
    caller = await enter(registry)
    assert allowed(caller, FRAUD, "default/Fraud", "default/new", "default") == [FRAUD, "default/Fraud"]

    await registry.write(models.rename, act(), name=FRAUD, new_name="default/new")

    assert await granted(registry) == [("user:ada", "reader", "default/new")]
    assert allowed(await again(registry, caller), FRAUD, "default/New", "default") == [FRAUD, "default/New"]
    await grant(registry, "writer", FRAUD)
    assert (await granted(registry))[1] == ("user:ada", "writer", "default/new")
    await registry.write(grants.revoke, act(), subject="user:ada", role="reader", scope=FRAUD)
    await registry.read(require_equal)


async def test_a_rename_to_a_name_that_has_grants_keeps_each_role_once(registry: Database) -> None:
    for scope in (FRAUD, "default/Next"):
        await grant(registry, "reader", scope)
    await grant(registry, "writer", FRAUD, subject="user:grace")

    await registry.write(models.rename, act(), name=FRAUD, new_name="default/next")

    expected = [("user:ada", "reader", "default/next"), ("user:grace", "writer", "default/next")]
    assert sorted(await granted(registry)) == expected
    await registry.read(require_equal)


async def test_a_rename_needs_a_permission_on_the_new_name_too(registry: Database) -> None:
    await registry.write(models.create, act(), name="default/taken", draft=models.Draft())
    await grant(registry, "admin", FRAUD)
    caller = await log_in(registry)
    told = []
    for name in ("taken", "free"):
        with pytest.raises(errors.PermissionMissing) as refused:
            await registry.write(models.rename, Act(caller), name=FRAUD, new_name=f"default/{name}")
        told.append(refused.value.message.replace(name, ""))
    assert told[0] == told[1]


async def test_grants_end_with_a_purged_model_a_deleted_namespace_and_a_deleted_group(
    registry: Database,
) -> None:
    await registry.write(namespaces.create, act(), name="other")
    await registry.write(groups.create, act(), name="team", draft=groups.Draft(members=["user:ada"]))
    for scope in (FRAUD, "other", "other/model", "default"):
        await grant(registry, "reader", scope)
    await grant(registry, "reader", "default/kept", subject="group:team")
    caller = await log_in(registry)

    await registry.write(model_deletions.remove, act(), name=FRAUD)
    await registry.write(model_deletions.purge, act(), name=FRAUD)
    await registry.write(namespaces.remove, act(), name="other")
    assert await granted(registry) == [
        ("user:ada", "reader", "default"),
        ("group:team", "reader", "default/kept"),
    ]
    await registry.write(namespaces.create, act(), name="other")
    assert allowed(await again(registry, caller), "other", "other/model") == []
    await registry.write(groups.remove, act(), name="team")
    assert await granted(registry) == [("user:ada", "reader", "default")]
    await registry.read(require_equal)


@BOTH
async def test_a_revocation_before_the_transaction_wins_over_what_was_admitted(
    registry: Database, enter: Enter
) -> None:
    await grant(registry, "writer", FRAUD)
    caller = await enter(registry)
    await registry.write(grants.revoke, act(), subject="user:ada", role="writer", scope=FRAUD)
    before = await registry.read(everything)

    demand = Demand("write", FRAUD)
    with pytest.raises(errors.PermissionMissing):
        await registry.write(requests.once, Act(caller), rename, lambda _: b"", demand=demand)
    assert await registry.read(everything) == before


async def test_a_token_that_was_revoked_before_the_transaction_is_refused_there(registry: Database) -> None:
    await grant(registry, "writer", FRAUD)
    caller = await log_in(registry)
    await registry.write(tokens.revoke, act(), uid=caller.token_uid)

    with pytest.raises(errors.TokenRevoked):
        await registry.write(requests.once, Act(caller), rename, lambda _: b"", demand=READ_FRAUD)


async def test_groups_of_a_provider_count_beside_local_ones_and_their_roles_are_read_anew(
    registry: Database,
) -> None:
    await registry.write(groups.create, act(), name="local", draft=groups.Draft(members=["user:ada"]))
    for group, role in (("local", "viewer"), ("claimed", "writer"), ("other", "admin")):
        await grant(registry, role, FRAUD, subject=f"group:{group}")
    caller = await log_in_at_provider(registry, claimed=["claimed", "unknown", "local"])
    assert (caller.groups, caller.kind, caller.method) == (("claimed", "local", "unknown"), "person", "oidc")
    assert allowed(caller, FRAUD, permission="write") == [FRAUD]
    assert allowed(caller, FRAUD, permission="admin") == []

    await registry.write(groups.modify, act(), name="local", draft=groups.Draft(), mask=("members",))
    await registry.write(grants.revoke, act(), subject="group:claimed", role="writer", scope=FRAUD)
    caller = await again(registry, caller)

    # It is still in the group that its provider names, whatever the registry lists.
    assert caller.groups == ("claimed", "local", "unknown")
    assert allowed(caller, FRAUD, permission="write") == []
    assert allowed(caller, FRAUD) == [FRAUD]


async def test_a_login_of_a_provider_that_ended_is_refused_in_the_transaction(registry: Database) -> None:
    await grant(registry, "writer", FRAUD)
    caller = await log_in_at_provider(registry)
    assert caller.rights is not None
    ended = replace(caller, rights=replace(caller.rights, expire_time=1))
    await grant(registry, "reader", "default", subject="user:grace")
    before = await registry.read(everything)

    with pytest.raises(errors.TokenExpired):
        await registry.write(requests.once, Act(ended), rename, lambda _: b"", demand=READ_FRAUD)
    assert await registry.read(everything) == before


@BOTH
async def test_other_changes_of_access_do_not_disturb(registry: Database, enter: Enter) -> None:
    await grant(registry, "writer", "default")
    caller = await enter(registry)
    await grant(registry, "reader", "default", subject="user:grace")

    demand = Demand("write", FRAUD)
    await registry.write(requests.once, Act(caller), rename, lambda _: b"", demand=demand)
    assert (await registry.read(models.find, name="default/renamed")).name == "renamed"


@BOTH
async def test_second_resources_are_checked_by_the_rights_of_the_transaction(
    registry: Database, enter: Enter
) -> None:
    await registry.write(models.create, act(), name="default/second", draft=models.Draft())
    await create(registry, 1)
    await create(registry, 2, model="default/second")
    for scope in (FRAUD, "default/second"):
        await grant(registry, "viewer", scope)
    caller = await enter(registry)
    wanted = [number(1), number(1, model="default/second")]
    for query in (versions.batch_get, comparisons.compare):
        await registry.read(query, namespace="default", wanted=wanted, caller=caller)
    await registry.write(grants.revoke, act(), subject="user:ada", role="viewer", scope="default/second")

    caller = await again(registry, caller)
    for query in (versions.batch_get, comparisons.compare):
        with pytest.raises(errors.PermissionMissing):
            await registry.read(query, namespace="default", wanted=wanted, caller=caller)


async def test_lists_have_what_the_caller_may_see_and_right_pages(registry: Database) -> None:
    seen = [f"model {index:02}" for index in range(0, 20, 3)]
    for index in range(20):
        await registry.write(
            models.create, act(), name=f"default/model {index:02}", draft=models.Draft("a word")
        )
        await create(registry, index, model=f"default/model {index:02}")
    for name in seen:
        await grant(registry, "viewer", f"default/{name.upper()}")
    await registry.write(models.rename, act(), name="default/model 00", new_name="default/model 00 b")
    seen[0] = "model 00 b"
    for space in ("hidden", "other", "third"):
        await registry.write(namespaces.create, act(), name=space)
    await grant(registry, "viewer", "third/nothing")
    caller = await log_in(registry)

    assert await names(registry, models.page, caller, namespace="default") == seen
    assert await names(registry, models.page, caller, namespace="default", filter='"a word"') == seen
    assert await names(registry, models.page, caller, namespace="third") == []
    listed = await names(registry, versions.page, caller, model="default/-", attribute="model")
    assert listed == [f"default/{name}" for name in seen]
    listed = await names(
        registry, versions.page, caller, model="default/-", order_by="create_time", attribute="model"
    )
    assert sorted(listed) == [f"default/{name}" for name in seen]
    assert await names(registry, models.page, access.UNLIMITED, namespace="third") == []
    found, more = await registry.read(namespaces.page, page_size=1, caller=caller)
    assert ([each.name for each in found], more) == (["default"], True)
    found, more = await registry.read(namespaces.page, page_size=1, after_name="default", caller=caller)
    assert ([each.name for each in found], more) == (["third"], False)


async def names(
    database: Database, page: Any, caller: Caller, *, attribute: str = "name", **query: Any
) -> list[str]:
    """Read a list to its end in pages of three."""
    found: list[str] = []
    after = None
    while True:
        part = await database.read(page, page_size=3, after=after, caller=caller, **query)
        found += [getattr(each, attribute) for each in part.entries]
        after = part.position
        if after is None:
            return found
        assert len(part.entries) == 3


async def test_an_empty_list_says_nothing_of_what_the_caller_may_not_see(registry: Database) -> None:
    hidden, seen = models.Draft(labels={"team": "risk"}), models.Draft(labels={"seen": "x"})
    await registry.write(models.create, act(), name="default/hidden", draft=hidden)
    await registry.write(models.create, act(), name="default/seen", draft=seen)
    await grant(registry, "viewer", "default/seen")
    caller = await log_in(registry)

    for label in ("team", "tean", "none"):
        wanted = f"labels.{label} = y"
        found = await registry.read(models.page, namespace="default", filter=wanted, caller=caller)
        assert [each.field for each in found.absent_fields] == [f"labels.{label}"]
        assert found.absent_fields[0].suggestion in {"", "labels.seen"}
    found = await registry.read(models.page, namespace="default", filter="labels.seen = y", caller=caller)
    assert not found.absent_fields


async def test_grants_are_listed_by_scope_and_subject(registry: Database) -> None:
    for scope in ("", "default", "default/a", "other", "environment:default"):
        await grant(registry, "viewer", scope)
        await grant(registry, "reader", scope, subject="service:ci")

    assert len(await granted(registry)) == 10
    assert [each[2] for each in await granted(registry, scope="default", subject="user:ada")] == [
        "default",
        "default/a",
    ]
    assert await granted(registry, scope="environment:default", subject="user:ada") == [
        ("user:ada", "viewer", "environment:default")
    ]
    assert await granted(registry, scope="default/A", subject="user:ada") == [
        ("user:ada", "viewer", "default/a")
    ]
    first, more = await registry.read(grants.page, page_size=4)
    rest, _ = await registry.read(grants.page, page_size=1000, after=first[-1].id)
    assert (len(first), more, len(rest)) == (4, True, 6)


async def test_a_grant_that_is_there_is_answered_and_makes_no_event(registry: Database) -> None:
    made, created, sequence = await registry.write(
        grants.grant, act(), subject="user:ada", role="reader", scope=FRAUD
    )
    again_, created_again, seen = await registry.write(
        grants.grant, act(), subject="user:ada", role="reader", scope="default/FRAUD"
    )
    assert (created, created_again) == (True, False)
    assert (again_.uid, seen) == (made.uid, sequence)


async def test_what_is_not_granted_cannot_be_taken_away(registry: Database) -> None:
    await grant(registry, "reader", "default")
    for wrong in ({"scope": FRAUD}, {"role": "writer"}, {"subject": "group:ada"}):
        wanted = {"subject": "user:ada", "role": "reader", "scope": "default"} | wrong
        with pytest.raises(errors.GrantNotFound):
            await registry.write(grants.revoke, act(), **wanted)


async def test_what_is_no_role_is_not_granted(registry: Database) -> None:
    with pytest.raises(errors.EnumInvalid):
        await grant(registry, "owner", "default")


async def test_tokens_grants_and_members_have_limits(
    registry: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "tokens_count", 2)
    monkeypatch.setattr(LIMITS, "grants_count", 2)
    monkeypatch.setattr(LIMITS, "group_members_count", 2)
    first = await log_in(registry)
    await log_in(registry)
    with pytest.raises(errors.LimitExceeded):
        await log_in(registry)
    await registry.write(tokens.revoke, act(), uid=first.token_uid)
    await log_in(registry)
    for scope in ("", "default"):
        await grant(registry, "reader", scope)
    with pytest.raises(errors.LimitExceeded):
        await grant(registry, "reader", "other")
    draft = groups.Draft(members=["user:a", "user:b", "user:c"])
    with pytest.raises(errors.LimitExceeded):
        await registry.write(groups.create, act(), name="team", draft=draft)


@pytest.mark.parametrize(
    "members", [["ada"], ["user:ada", "user:ada"], ["group:team"], ["user:"], ["user:Ada"]]
)
async def test_a_group_has_principals_each_once(registry: Database, members: Sequence[str]) -> None:
    with pytest.raises(errors.InvalidArgument):
        await registry.write(groups.create, act(), name="team", draft=groups.Draft(members=members))


async def test_a_group_changes_by_its_etag_and_is_found_by_its_name(registry: Database) -> None:
    made = await registry.write(groups.create, act(), name="team", draft=groups.Draft(members=["user:b"]))
    with pytest.raises(errors.GroupAlreadyExists):
        await registry.write(groups.create, act(), name="team", draft=groups.Draft())
    draft = groups.Draft("two", members=["user:b", "user:a"])
    await registry.write(groups.modify, act(), name="team", draft=draft, mask=None, etag=str(made.sequence))
    [listed], more = await registry.read(groups.page)
    assert (listed.members, listed.description, more) == (["user:a", "user:b"], "two", False)
    for change in (groups.modify, groups.remove):
        wanted = {"draft": draft, "mask": None} if change is groups.modify else {}
        with pytest.raises(errors.EtagMismatch):
            await registry.write(change, act(), name="team", etag=str(made.sequence), **wanted)
        with pytest.raises(errors.GroupNotFound):
            await registry.write(change, act(), name="absent", **wanted)


async def test_an_administered_registry_is_one_where_an_admin_can_log_in(registry: Database) -> None:
    async def is_administered() -> bool:
        return await registry.read(tokens.is_administered)

    caller = await log_in(registry)
    await grant(registry, "writer", "")
    await grant(registry, "admin", "default")
    assert not await is_administered()
    await grant(registry, "admin", "")
    assert await is_administered()
    await registry.write(grants.revoke, act(), subject="user:ada", role="admin", scope="")
    await registry.write(groups.create, act(), name="team", draft=groups.Draft(members=["user:ada"]))
    await grant(registry, "admin", "", subject="group:team")
    assert await is_administered()
    await registry.write(lambda tx: tx.run(update(tables.tokens).values(expire_time=1), {}))
    assert not await is_administered()
    await registry.write(lambda tx: tx.run(update(tables.tokens).values(expire_time=2**52), {}))
    await registry.write(tokens.revoke, act(), uid=caller.token_uid)
    assert not await is_administered()


async def test_where_a_provider_lets_people_in_somebody_else_with_the_role_is_enough(
    registry: Database,
) -> None:
    for subject, is_enough in (("user:admin", False), ("group:admins", True)):
        await grant(registry, "admin", "", subject=subject)
        assert await registry.read(tokens.is_administered, has_issuers=True) == is_enough
        assert not await registry.read(tokens.is_administered)


async def test_uses_of_tokens_are_written_down_without_an_event(registry: Database) -> None:
    caller = await log_in(registry)
    sequence = await registry.read(access.sequence)
    for use_time in (5, 7):
        await registry.write(tokens.note_uses, {caller.token_uid: use_time})
    [token], _ = await registry.read(tokens.page, caller=access.UNLIMITED)
    assert token.use_time == 7
    assert await registry.read(access.sequence) == sequence
    await registry.read(require_equal)


@BOTH
async def test_on_postgresql_a_revocation_while_a_transaction_runs_makes_it_run_again(
    registry: Database, enter: Enter
) -> None:
    """SQLite has one writer, so there nothing can come between."""
    if registry.name.startswith("sqlite"):
        return
    await grant(registry, "writer", FRAUD)
    caller = await enter(registry)
    begun, revoked = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(tx: Transaction, act: Act) -> models.Model:
        loop.call_soon_threadsafe(begun.set)
        assert revoked.wait(20)
        return rename(tx, act)

    demand = Demand("write", FRAUD)
    changing = asyncio.create_task(
        registry.write(requests.once, Act(caller), slow, lambda _: b"", demand=demand)
    )
    await begun.wait()
    await registry.write(grants.revoke, act(), subject="user:ada", role="writer", scope=FRAUD)
    before = await registry.read(everything)
    revoked.set()
    with pytest.raises(access.AccessMoved):
        await changing
    assert await registry.read(everything) == before


@BOTH
async def test_a_change_of_access_by_its_own_transaction_is_no_reason_to_run_again(
    registry: Database, enter: Enter
) -> None:
    await grant(registry, "admin", "")
    caller = await enter(registry)
    wanted = {"subject": "user:ada", "role": "admin", "scope": ""}

    demand = Demand("admin", "")
    await registry.write(requests.once, Act(caller), grants.revoke, lambda _: b"", demand=demand, **wanted)
    assert await granted(registry) == []


def rename(tx: Transaction, act: Act) -> models.Model:
    """Change something that asks for no second permission of its caller."""
    name = "default/renamed"
    return models.rename(tx, Act(Caller("x")), name=FRAUD, new_name=name)
