"""Authority that somebody gave themselves does not count: by a token for another, by a role, by a group."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from steelyard_server import errors
from steelyard_server.core import access, evaluations, grants, groups, reviews, roles, tokens
from steelyard_server.core.content import Metric
from steelyard_server.core.policy_drafts import Check, Draft
from steelyard_server.core.reviews import View
from steelyard_server.db.database import Database
from steelyard_server.history.act import Act
from tests.contracts.promoting import PRODUCTION, Board, demanding, named
from tests.contracts.registry import act, create, everything, number
from tests.contracts.stored import require_equal

NEVER = Draft(PRODUCTION, checks=(Check("never", "false"),))


@pytest.fixture
async def board(registry: Database) -> Board:
    """Add a version to the registry."""
    await create(registry, 0)
    return Board(registry)


async def minted(board: Board, maker: Act, who: str) -> Act:
    """Log in with a token that *maker* made."""
    secret = tokens.make()
    keys = {"uid": secret.uid, "digest": secret.digest}
    await board.database.write(tokens.create, await board.again(maker), principal=who, **keys)
    return Act(await board.database.read(access.log_in, **keys), reason="now")


async def proposed(board: Board) -> tuple[Act, View]:
    """Let an admin of the registry propose what one person has to approve."""
    await board.set_policy(demanding())
    root = await board.person("user:root", "admin", scope="")
    await board.person("user:ann", "approver")
    return root, await board.promote(root, 1)


async def refused(board: Board, who: Act, view: View) -> dict[str, str]:
    """Demand that an approval is refused and changes nothing; return what the error says."""
    before = await board.database.read(everything)
    assert "approve" not in (await board.see(view, caller=who.caller)).actions
    with pytest.raises(errors.ReviewerNotIndependent) as error:
        await board.say(who, view)
    assert await board.database.read(everything) == before
    return error.value.metadata


async def test_an_admin_does_not_approve_what_they_proposed_with_a_token_for_another(board: Board) -> None:
    root, view = await proposed(board)

    ann = await minted(board, root, "user:ann")

    assert await refused(board, ann, view) == {"because": "token", "maker": "user:root"}
    assert (await board.say(await board.login("user:ann"), view)).state == "applied"


async def test_a_token_that_was_made_with_such_a_token_counts_no_more_than_that(board: Board) -> None:
    root, view = await proposed(board)
    await board.person("user:puppet", "admin", scope="")

    own = await minted(board, await minted(board, root, "user:ann"), "user:ann")
    by_puppet = await minted(board, await minted(board, root, "user:puppet"), "user:ann")

    for ann in (own, by_puppet, await board.again(own)):
        assert await refused(board, ann, view) == {"because": "token", "maker": "user:root"}


async def test_tokens_of_other_admins_and_ones_own_count(board: Board) -> None:
    _, view = await proposed(board)
    other = await board.person("user:other", "admin", scope="")

    ann = await minted(board, await minted(board, other, "user:ann"), "user:ann")

    assert ann.caller.rights is not None
    assert ann.caller.rights.makers == {"user:other"}
    assert (await board.say(ann, view)).state == "applied"


async def test_a_token_of_who_measured_the_version_does_not_count_either(board: Board) -> None:
    root = await board.person("user:root", "admin", scope="")
    await board.set_policy(demanding())
    view = await board.promote(await board.person("user:wim", "writer"), 1)
    draft = evaluations.Draft((Metric("f1", "", "", 0.5),))
    await board.database.write(evaluations.record, root, reference=number(1), draft=draft)
    await board.person("user:ann", "approver")

    assert (await refused(board, await minted(board, root, "user:ann"), view))["maker"] == "user:root"


async def test_a_token_whose_makers_cannot_be_told_any_more_does_not_count(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, view = await proposed(board)
    monkeypatch.setattr(access, "_LINKS", 2)
    ann = await board.login("user:ann")
    for _ in range(2):
        ann = await minted(board, ann, "user:ann")

    assert await refused(board, ann, view) == {"because": "token", "maker": access.UNTRACED}


async def test_an_admin_does_not_override_for_themselves_with_a_token_for_another(board: Board) -> None:
    await board.set_policy(NEVER)
    root = await board.person("user:root", "admin", scope="")
    view = await board.promote(root, 1)
    bob = replace(await board.person("user:bob", "break-glass"), reason="now")

    borrowed = await minted(board, root, "user:bob")

    assert (await board.see(view, caller=borrowed.caller)).actions == []
    with pytest.raises(errors.ReviewerNotIndependent):
        await board.database.write(reviews.override, borrowed, **named(view))
    assert (await board.database.write(reviews.override, bob, **named(view))).state == "overridden"


async def self_made(board: Board, who: Act, use_case: Any, **wanted: Any) -> None:
    """Demand that somebody cannot give themselves a role, and that nothing changes."""
    before = await board.database.read(everything)
    with pytest.raises(errors.RoleNotForOneself):
        await board.database.write(use_case, await board.again(who), **wanted)
    assert await board.database.read(everything) == before


@pytest.mark.parametrize("role", roles.DECIDING)
async def test_nobody_gives_themselves_a_role_that_decides(board: Board, role: str) -> None:
    root = await board.person("user:root", "admin", scope="")
    puppet = await minted(board, root, "user:puppet")
    await board.group("team", "user:root", "user:ann")
    await board.group("late", "user:ann")

    for who, subject in ((root, "user:root"), (root, "group:team"), (puppet, "user:root")):
        await self_made(board, who, grants.grant, subject=subject, role=role, scope="default")
    for subject in ("user:ann", "group:late"):
        await board.database.write(
            grants.grant, await board.again(root), subject=subject, role=role, scope="default"
        )
    await board.database.write(
        grants.grant, await board.again(root), subject="user:root", role="writer", scope="default"
    )
    await board.database.read(require_equal)


async def test_nobody_gives_such_a_role_to_a_group_that_a_provider_says_they_are_in(board: Board) -> None:
    root = await board.person("user:root", "admin", scope="")
    login = access.Login(
        "user:root",
        expire_time=root.caller.rights.expire_time if root.caller.rights else 0,
        issuer="https://login.example",
        groups=("risk",),
    )
    claiming = Act(await board.database.read(access.entered, login=login))

    await self_made(board, claiming, grants.grant, subject="group:risk", role="approver", scope="default")


async def test_nobody_comes_into_a_group_that_decides_by_their_own_will(board: Board) -> None:
    root = await board.person("user:root", "admin", scope="")
    await board.group("team", "user:ann")
    for subject in ("group:team", "group:later"):
        await board.database.write(grants.grant, act(), subject=subject, role="approver", scope="default")
    joined = groups.Draft(members=("user:ann", "user:root"))
    join = {"name": "team", "draft": joined, "mask": ("members",)}

    await self_made(board, root, groups.create, name="later", draft=joined)
    await self_made(board, root, groups.modify, **join)
    await board.database.write(groups.modify, act(), **join)
    stay = groups.Draft(members=("user:ann", "user:bob", "user:root"))
    await board.database.write(groups.modify, await board.again(root), **join | {"draft": stay})
    await board.database.write(groups.create, await board.again(root), name="other", draft=joined)
    await board.database.read(require_equal)
