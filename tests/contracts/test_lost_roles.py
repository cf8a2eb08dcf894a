"""Approvals of who may not approve any more do not count, however they lost it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from steelyard_server.core import access, grants, groups
from steelyard_server.core.access import Login
from steelyard_server.core.names import INT64_MAXIMUM
from steelyard_server.core.policy_drafts import Approvals, Draft
from steelyard_server.core.reviews import View
from steelyard_server.db.database import Database
from steelyard_server.history.act import Act
from tests.contracts.promoting import PRODUCTION, Board, demanding
from tests.contracts.registry import act, create
from tests.contracts.stored import require_equal

ISSUER = "https://login.bank.example"


@pytest.fixture
async def board(registry: Database) -> Board:
    """Add two versions to the registry."""
    for seed in range(2):
        await create(registry, seed)
    return Board(registry)


async def take(board: Board, who: str, role: str = "approver", scope: str = "default") -> None:
    await board.database.write(grants.revoke, act(), subject=who, role=role, scope=scope)


def given(view: View) -> list[int]:
    return [count for _, count in view.approvals]


async def opened(board: Board, **rule: object) -> tuple[View, Act]:
    """Open a promotion that two have to approve; return it with bob, who may be the second."""
    await board.set_policy(demanding(**{"count": 2} | rule))
    view = await board.promote(await board.person("user:wim", "writer"), 1)
    return view, await board.person("user:bob", "approver")


async def test_an_approval_of_who_lost_the_role_lets_nothing_through(board: Board) -> None:
    view, bob = await opened(board, roles=("approver",))
    ann = await board.person("user:ann", "approver")
    assert given(await board.say(ann, view)) == [1]

    await take(board, "user:ann")
    assert given(await board.see(view)) == [0]
    said = await board.say(bob, view)

    assert (said.state, given(said)) == ("open", [1])
    assert (await board.say(await board.person("user:eve", "approver"), view)).state == "applied"
    await board.database.read(require_equal)


async def test_it_counts_again_when_the_role_comes_back(board: Board) -> None:
    view, bob = await opened(board)
    ann = await board.person("user:ann", "approver")
    await board.say(ann, view)
    await take(board, "user:ann")
    await board.person("user:ann", "approver", scope="default/fraud")

    assert (await board.say(bob, view)).state == "applied"


async def test_an_approval_of_who_left_the_group_that_a_policy_asks_does_not_count(board: Board) -> None:
    await board.group("risk", "user:ann", "user:bob")
    view, bob = await opened(board, groups=("group:risk",))
    await board.say(await board.person("user:ann", "approver"), view)

    left = groups.Draft(members=("user:bob",))
    await board.database.write(groups.modify, act(), name="risk", draft=left, mask=("members",))

    assert given(await board.say(bob, view)) == [1]


async def test_a_second_person_of_a_policy_who_lost_the_role_does_not_count(board: Board) -> None:
    """Nothing is asked there but the permission; a policy waits for its second person."""
    boss, ann = await board.login("user:boss"), await board.person("user:ann", "approver")
    draft = Draft(PRODUCTION, approvals=Approvals(2))
    await board.set_policy(draft, name="careful")
    view = await board.promote(await board.person("user:wim", "writer"), 1)
    await board.say(ann, view)
    await take(board, "user:ann")

    assert given(await board.see(view, caller=boss.caller)) == [0]
    assert given(await board.say(await board.person("user:bob", "approver"), view)) == [1]


def provided(who: str, *claimed: str) -> Callable[[Database], Awaitable[Act]]:
    """Log in at an identity provider that says which groups somebody is in."""

    async def log_in(database: Database) -> Act:
        login = Login(who, expire_time=INT64_MAXIMUM, issuer=ISSUER, groups=claimed)
        return Act(await database.read(access.entered, login))

    return log_in


async def test_groups_of_a_provider_count_as_they_were_when_it_was_approved(board: Board) -> None:
    await board.database.write(grants.grant, act(), subject="group:risk", role="approver", scope="default")
    view, bob = await opened(board, groups=("group:committee",))
    ann = await provided("user:ann", "risk", "committee", "canteen")(board.database)
    await board.group("committee", "user:bob")
    said = await board.say(ann, view)

    assert (given(said), said.promotion.reviews[0].groups) == ([1], ("risk", "committee"))
    assert (await board.say(await board.again(bob), view)).state == "applied"
    await board.database.read(require_equal)


async def test_a_grant_to_a_group_of_a_provider_can_be_taken_away(board: Board) -> None:
    await board.database.write(grants.grant, act(), subject="group:risk", role="approver", scope="default")
    view, bob = await opened(board)
    await board.say(await provided("user:ann", "risk")(board.database), view)

    await take(board, "group:risk")

    assert given(await board.say(bob, view)) == [1]


async def test_who_is_in_the_group_still_but_may_not_review_any_more_does_not_count(board: Board) -> None:
    await board.group("risk", "user:ann", "user:bob")
    view, bob = await opened(board, groups=("group:risk",))
    await board.say(await board.person("user:ann", "approver"), view)

    await take(board, "user:ann")

    assert given(await board.say(await board.again(bob), view)) == [1]
