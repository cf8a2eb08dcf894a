"""Environments: places of the whole registry, with grants and policies; nothing goes there yet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from steelyard_server import delivery_errors, errors
from steelyard_server.core import access, environments, events, governance, grants, models, namespaces, tokens
from steelyard_server.core.environments import Draft as Place
from steelyard_server.core.policy_drafts import Check, Draft
from steelyard_server.core.targets import Target
from steelyard_server.db.database import Database, Transaction
from steelyard_server.history.caller import Caller
from tests.contracts.promoting import SMALL, Board
from tests.contracts.registry import FRAUD, act, create, everything
from tests.contracts.stored import require_equal

PRODUCTION = Target("environment", "production-*")
GUARDED = Draft(PRODUCTION, checks=(SMALL,))
EU = "production-eu"


@pytest.fixture
async def board(registry: Database) -> Board:
    await create(registry, 1)
    return Board(registry)


async def log_in(
    registry: Database, who: str, *, scopes: Sequence[str] = (), role: str = "deployer"
) -> Caller:
    """Let somebody log in who has a role in each scope."""
    for scope in scopes:
        await registry.write(grants.grant, act(), subject=who, role=role, scope=scope)
    secret = tokens.make()
    await registry.write(tokens.create, act(), uid=secret.uid, digest=secret.digest, principal=who)
    return await registry.read(access.log_in, uid=secret.uid, digest=secret.digest)


async def names_of(registry: Database, **wanted: Any) -> list[str]:
    found, _ = await registry.read(environments.page, **wanted)
    return [each.name for each in found]


async def test_one_is_made_read_changed_and_gone_and_its_name_is_free(registry: Database) -> None:
    draft = Place("where it runs\n🦉", labels={"region": "eu"}, accepts=("staging", "production"))
    made = await registry.write(environments.create, act(), name=EU, draft=draft)
    assert (made.description, made.labels, made.accepts) == (
        draft.description,
        draft.labels,
        [*draft.accepts],
    )
    assert (made.creator["id"], made.create_time) == ("ada", made.update_time)
    found = await registry.read(environments.get, name=EU)
    assert replace(found, id=0) == made

    changing = {"draft": Place("new", accepts=()), "mask": ("accepts",), "etag": str(made.sequence)}
    changed = await registry.write(environments.modify, act(), name=EU, **changing)
    assert changed == replace(found, accepts=[], update_time=changed.update_time, sequence=changed.sequence)
    assert changed.sequence == made.sequence + 1
    await registry.read(require_equal)

    sequence = await registry.write(environments.remove, act(), name=EU, etag=str(changed.sequence))
    assert sequence == changed.sequence + 1
    with pytest.raises(delivery_errors.EnvironmentNotFound) as refused:
        await registry.read(environments.get, name=EU)
    assert refused.value.metadata == {"environment": EU}
    again = await registry.write(environments.create, act("grace"), name=EU)
    assert again.uid != made.uid
    assert (again.description, again.labels, again.accepts, again.creator["id"]) == ("", {}, [], "grace")
    await registry.read(require_equal)


async def test_what_is_refused_changes_nothing(registry: Database) -> None:
    made = await registry.write(environments.create, act(), name=EU)
    await registry.write(environments.modify, act(), name=EU, draft=Place("new"), mask=None)
    before = await registry.read(everything)
    stale = {"etag": str(made.sequence)}
    some = {"draft": Place("x"), "mask": None}
    for error, use_case, arguments in (
        (delivery_errors.EnvironmentAlreadyExists, environments.create, {"name": EU}),
        (errors.EtagMismatch, environments.modify, {"name": EU, **some, **stale}),
        (errors.EtagMismatch, environments.remove, {"name": EU, **stale}),
        (delivery_errors.EnvironmentNotFound, environments.modify, {"name": "absent", **some}),
        (delivery_errors.EnvironmentNotFound, environments.remove, {"name": "absent"}),
        (errors.InvalidName, environments.remove, {"name": "production-*"}),
        (errors.ReservedName, environments.create, {"name": "none"}),
        (errors.DuplicateKey, environments.create, {"name": "x", "draft": Place(accepts=("a", "a"))}),
        (errors.InvalidName, environments.create, {"name": "x", "draft": Place(accepts=("A",))}),
        (errors.ImmutableField, environments.modify, {"name": EU, **some, "mask": ("name",)}),
        (errors.FieldMaskInvalid, environments.modify, {"name": EU, **some, "mask": ("uid",)}),
    ):
        with pytest.raises(error):
            await registry.write(use_case, act(), **arguments)
    assert await registry.read(everything) == before


async def test_pages_go_on_behind_a_name_and_have_what_a_caller_may_read(registry: Database) -> None:
    for name in ("c", "a", "b-eu", "b"):
        await registry.write(environments.create, act(), name=name)
    assert await names_of(registry) == ["a", "b", "b-eu", "c"]
    found, more = await registry.read(environments.page, page_size=2)
    assert ([each.name for each in found], more) == (["a", "b"], True)
    found, more = await registry.read(environments.page, page_size=2, after_name="b")
    assert ([each.name for each in found], more) == (["b-eu", "c"], False)

    some = await log_in(
        registry, "user:ada", scopes=("environment:b", "environment:absent", "default", FRAUD)
    )
    assert await names_of(registry, caller=some) == ["b"]
    assert await names_of(registry, caller=some, after_name="b") == []
    assert await names_of(registry, caller=await log_in(registry, "user:eve", scopes=("default",))) == []
    await registry.write(grants.grant, act(), subject="user:ada", role="viewer", scope="environment:c")
    some = await registry.read(access.current, some, demand=None)
    assert await names_of(registry, caller=some) == ["b", "c"]
    assert access.environments_of(some, "deploy") == ["absent", "b"]
    seeing = await log_in(registry, "user:all", scopes=("",), role="viewer")
    assert await names_of(registry, caller=seeing) == ["a", "b", "b-eu", "c"]


async def test_grants_on_one_end_with_it_and_others_stay(registry: Database) -> None:
    """Also those that are for a namespace or a model of the same name."""
    await registry.write(environments.create, act(), name="default")
    await registry.write(environments.create, act(), name="default-eu")
    kept = ("default", FRAUD, "environment:default-eu", "")
    ada = await log_in(registry, "user:ada", scopes=("environment:default", *kept[:-1]))
    await registry.write(grants.grant, act(), subject="user:grace", role="viewer", scope="")
    assert access.allows(ada, "deploy", "environment:default")

    await registry.write(environments.remove, act(), name="default")

    found, _ = await registry.read(grants.page)
    assert sorted(each.scope for each in found) == sorted(kept)
    await registry.write(environments.create, act(), name="default")
    ada = await registry.read(access.current, ada, demand=None)
    assert [each for each in ("environment:default", *kept) if access.allows(ada, "deploy", each)] == [
        *kept[:-1]
    ]
    await registry.read(require_equal)


async def test_access_moves_with_one_only_when_a_grant_ends(registry: Database) -> None:
    for name in ("a", "b"):
        await registry.write(environments.create, act(), name=name)
    await registry.write(grants.grant, act(), subject="user:ada", role="deployer", scope="environment:a")
    before = await registry.read(access.sequence)

    await registry.write(environments.remove, act(), name="b")
    assert await registry.read(access.sequence) == before
    sequence = await registry.write(environments.remove, act(), name="a")
    assert await registry.read(access.sequence) == sequence > before


async def test_its_events_are_of_the_registry_and_of_no_namespace(registry: Database) -> None:
    await registry.write(namespaces.create, act(), name="risk")
    await registry.write(environments.create, act(reason="new data centre"), name="risk")
    await registry.write(environments.modify, act(), name="risk", draft=Place("x"), mask=None)
    await registry.write(environments.remove, act(), name="risk")

    wanted = {"filter": 'resource = "environment/risk"', "order_by": "sequence"}
    found, _ = await registry.read(events.page, **wanted)
    assert [each.action for each in found] == [
        f"environment.{verb}" for verb in ("create", "update", "delete")
    ]
    assert [each.content for each in found[0].texts] == ["new data centre"]
    inside, _ = await registry.read(events.page, scope="risk")
    assert [each.action for each in inside] == ["namespace.create"]


async def test_a_policy_for_environments_is_type_checked_kept_and_listed(board: Board) -> None:
    await board.set_policy(GUARDED)
    (found,) = await board.database.read(governance.page, namespace="default")
    assert (found.draft, found.revision) == (GUARDED, 1)

    with pytest.raises(errors.PolicyInvalid):
        await board.set_policy(replace(GUARDED, checks=(Check("wrong", "candidate.number"),)))
    await board.database.read(require_equal)


async def test_a_policy_outlives_the_environment_that_it_names(board: Board) -> None:
    await board.set_policy(replace(GUARDED, target=Target("environment", EU)))
    for _ in range(2):
        await board.database.write(environments.create, act(), name=EU)
        await board.database.write(environments.remove, act(), name=EU)
    (found,) = await board.database.read(governance.page, namespace="default")
    assert found.draft.target == Target("environment", EU)
    await board.database.read(require_equal)


async def test_no_version_goes_to_an_environment_and_the_answer_says_why(board: Board) -> None:
    await board.database.write(environments.create, act(), name="there")
    before = await board.database.read(everything)
    for name, why in (
        (EU, "There is no environment production-eu"),
        ("there", "deployments come with a later"),
    ):
        with pytest.raises(delivery_errors.EnvironmentNotFound, match=why) as refused:
            await board.promote(act(), 1, Target("environment", name))
        assert refused.value.metadata == {"environment": name}
    for wrong, error in (("", errors.FieldRequired), ("No such", errors.InvalidName)):
        with pytest.raises(error):
            await board.promote(act(), 1, Target("environment", wrong))
    assert await board.database.read(everything) == before


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("production-*", "production-eu", True),
        ("production-*", "production", False),
        ("*", "staging", True),
        ("*-eu", "production-eu", True),
        ("production-eu", "production-eu", True),
        ("production-eu", "production-us", False),
    ],
)
async def test_a_policy_protects_the_environments_that_have_its_form(
    board: Board, pattern: str, name: str, *, covered: bool
) -> None:
    await board.set_policy(replace(GUARDED, target=Target("environment", pattern)))

    def protecting(tx: Transaction) -> list[str]:
        model = models.find(tx, name=FRAUD)
        found = governance.protecting(tx, model=model, target=Target("environment", name))
        assert governance.protecting(tx, model=model, target=Target("stage", name)) == []
        return [each.name for each in found]

    assert await board.database.read(protecting) == (["careful"] if covered else [])


async def test_of_many_who_do_the_same_at_once_one_does_it(registry: Database) -> None:
    """The others are told why, whichever transaction comes first."""

    async def tried(use_case: Any, **arguments: Any) -> list[str]:
        wishes = (registry.write(use_case, act(), name=EU, **arguments) for _ in range(12))
        done = await asyncio.gather(*wishes, return_exceptions=True)
        assert not [each for each in done if isinstance(each, Exception) and not hasattr(each, "reason")]
        return sorted(each.reason if isinstance(each, errors.RegistryError) else "" for each in done)

    assert await tried(environments.create) == ["", *(11 * ["ENVIRONMENT_ALREADY_EXISTS"])]
    etag = str((await registry.read(environments.get, name=EU)).sequence)
    changing = {"draft": Place("x"), "mask": None, "etag": etag}
    assert await tried(environments.modify, **changing) == ["", *(11 * ["ETAG_MISMATCH"])]
    assert await tried(environments.remove) == ["", *(11 * ["ENVIRONMENT_NOT_FOUND"])]
    await registry.read(require_equal)
