"""Ways around a policy by where a version stands: it leaves a stage, or comes into use again elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from steelyard_server import errors
from steelyard_server.core import (
    aliases,
    deletions,
    evaluations,
    files,
    model_deletions,
    models,
    reviews,
    versions,
)
from steelyard_server.core.content import Dataset, Metric
from steelyard_server.core.policy_drafts import Approvals, Check, Draft
from steelyard_server.core.reviews import View
from steelyard_server.core.targets import Target
from steelyard_server.core.versions import Version
from steelyard_server.db.database import Database
from steelyard_server.history.act import Act
from tests.contracts.promoting import CHAMPION, PRODUCTION, SMALL, Board, demanding, named
from tests.contracts.registry import BLOB, FRAUD, act, create, everything, number
from tests.contracts.stored import require_equal

DEVELOPMENT, STAGING, ARCHIVED = (Target("stage", name) for name in ("development", "staging", "archived"))
BETTER = Check("better", 'better("precision@holdout", 0.0)', passes_without_incumbent=True)
VALUES = {1: 0.9, 2: 0.1, 3: 0.95}


@pytest.fixture
async def board(registry: Database) -> Board:
    """Add measured versions to the registry."""
    draft = models.Draft(metric_directions={"precision": "higher-is-better"})
    await registry.write(models.modify, act(), name=FRAUD, draft=draft, mask=("metric_directions",))
    for of, value in VALUES.items():
        await create(registry, of)
        measured = evaluations.Draft(
            (Metric("precision", "holdout", "", value),), (Dataset("holdout", digest=BLOB[0]),)
        )
        await registry.write(evaluations.record, act("service:ci"), reference=number(of), draft=measured)
    return Board(registry)


async def version(board: Board, of: int = 1) -> Version:
    return await board.database.read(versions.get, reference=number(of))


async def stages(board: Board) -> list[str]:
    return [(await version(board, of)).stage for of in VALUES]


async def revoke(board: Board) -> None:
    await board.database.write(reviews.revoke, act("eve", reason="bad"), reference=number(1))


async def is_read(board: Board) -> bool:
    try:
        await board.database.read(files.find, reference=number(1), path="model.onnx")
    except errors.VersionRevoked:
        return False
    return True


def asked(view: View) -> list[tuple[str, int, int]]:
    return [(each.policy, each.rule.count, given) for each, given in view.approvals]


async def people(board: Board, *names: str) -> list[Act]:
    return [await board.person(f"user:{name}", "approver") for name in names]


@pytest.mark.parametrize("away", [DEVELOPMENT, STAGING, ARCHIVED])
async def test_nobody_empties_a_protected_stage_alone_to_bring_a_worse_version_in(
    board: Board, away: Target
) -> None:
    await board.set_policy(Draft(PRODUCTION, checks=(BETTER,)))
    wim = await board.person("user:wim", "writer", "approver")
    assert (await board.promote(wim, 1)).state == "applied"

    view = await board.promote(wim, 1, away)

    assert (view.state, asked(view)) == ("open", [("", 1, 0)])
    with pytest.raises(errors.ReviewerNotIndependent):
        await board.say(wim, view)
    assert (await board.promote(wim, 2)).state == "refused"
    with pytest.raises(errors.PolicyRequiresPromotion):
        await board.database.write(deletions.remove, wim, reference=number(1))
    assert await stages(board) == ["production", "development", "development"]
    (ann,) = await people(board, "ann")
    assert (await board.say(ann, view)).state == "applied"
    assert (await stages(board))[0] == away.name
    await board.database.read(require_equal)


async def test_a_version_leaves_a_protected_stage_with_the_approvals_of_its_policies(board: Board) -> None:
    await board.set_policy(demanding(count=2))
    wim, (ann, bob) = await board.person("user:wim", "writer"), await people(board, "ann", "bob")
    into = await board.promote(wim, 1)
    for who in (ann, bob):
        into = await board.say(who, into)
    assert into.state == "applied"
    await board.set_policy(replace(demanding(STAGING), checks=()), name="staging")

    view = await board.promote(wim, 1, STAGING)
    assert asked(view) == [("staging", 1, 0), ("careful", 2, 0)]
    assert asked(await board.say(ann, view)) == [("staging", 1, 1), ("careful", 2, 1)]
    # Whoever approved under other rules did not see these.
    await board.set_policy(demanding(count=2, lifetime_seconds=3600))
    assert asked(await board.see(view)) == [("staging", 1, 1), ("careful", 2, 0)]
    assert asked(await board.say(ann, view)) == [("staging", 1, 1), ("careful", 2, 1)]
    with pytest.raises(errors.ReviewGiven):
        await board.say(ann, view)
    assert (await board.say(bob, view)).state == "applied"
    assert (await stages(board))[0] == "staging"
    await board.database.read(require_equal)


async def test_the_incumbent_leaves_with_the_approved_promotion_that_archives_it(board: Board) -> None:
    await board.set_policy(Draft(PRODUCTION, checks=(BETTER,), approvals=Approvals(1)))
    wim, (ann,) = await board.person("user:wim", "writer"), await people(board, "ann")
    assert (await board.say(ann, await board.promote(wim, 1))).state == "applied"

    view = await board.promote(wim, 3, archive_incumbent=True)

    assert asked(view) == [("careful", 1, 0)]
    assert (await board.say(ann, view)).state == "applied"
    assert await stages(board) == ["archived", "development", "production"]


async def test_what_no_policy_protects_is_left_at_once(board: Board) -> None:
    await board.set_policy(Draft(PRODUCTION, ("other",), checks=(BETTER,)))
    await board.set_policy(demanding(CHAMPION), name="champion")
    for target in (PRODUCTION, STAGING, ARCHIVED):
        assert (await board.promote(act(), 1, target)).state == "applied"


async def test_a_revoked_version_is_archived_and_stays_revoked(board: Board) -> None:
    await board.set_policy(demanding(CHAMPION, count=2))
    wim, (ann, bob) = await board.person("user:wim", "writer"), await people(board, "ann", "bob")
    view = await board.promote(wim, 1, CHAMPION)
    for who in (ann, bob):
        view = await board.say(who, view)
    assert view.state == "applied"
    await revoke(board)

    for target in (STAGING, ARCHIVED, DEVELOPMENT):
        assert (await board.promote(wim, 1, target)).state == "applied"
        assert "revocation" in (await version(board)).marks
    before = await board.database.read(everything)
    with pytest.raises(errors.VersionRevoked):
        await board.promote(wim, 1, Target("alias", "free"))
    with pytest.raises(errors.AlreadyAtTarget):
        await board.promote(wim, 1, DEVELOPMENT)
    assert await board.database.read(everything) == before
    assert not await is_read(board)
    await board.database.read(require_equal)


async def test_it_is_put_into_use_again_only_as_all_policies_say_where_it_stands(board: Board) -> None:
    for name in ("champion", "other"):
        await board.database.write(aliases.put, act(), reference=number(1), name=name)
    await board.promote(act(), 1, STAGING)
    await board.set_policy(demanding(CHAMPION, count=3), name="champion")
    await board.set_policy(demanding(STAGING, count=2), name="staging")
    await board.set_policy(Draft(PRODUCTION, checks=(SMALL,)), name="production")
    await revoke(board)
    wim, (ann, bob, kim) = await board.person("user:wim", "writer"), await people(board, "ann", "bob", "kim")

    view = await board.promote(wim, 1)

    assert asked(view) == [("", 1, 0), ("champion", 3, 0), ("staging", 2, 0)]
    for who, state in ((ann, "open"), (bob, "open")):
        assert (await board.say(who, view)).state == state
        assert not await is_read(board)
    assert (await board.say(kim, view)).state == "applied"
    assert await is_read(board)
    assert ((await version(board)).stage, (await version(board)).marks) == ("production", {})
    await board.database.read(require_equal)


async def test_a_revoked_version_leaves_a_protected_stage_as_its_policies_say(board: Board) -> None:
    await board.promote(act(), 1)
    await board.set_policy(demanding())
    await revoke(board)
    wim, (ann,) = await board.person("user:wim", "writer"), await people(board, "ann")

    view = await board.promote(wim, 1, ARCHIVED)
    assert (view.state, asked(view)) == ("open", [("careful", 1, 0)])
    assert (await board.say(ann, view)).state == "applied"
    assert ((await version(board)).stage, await is_read(board)) == ("archived", False)
    await board.database.read(require_equal)


@pytest.mark.parametrize("options", [{}, {"archive_incumbent": True}])
async def test_an_override_leaves_a_protected_stage_too(board: Board, options: dict[str, Any]) -> None:
    await board.promote(act(), 1)
    await board.set_policy(Draft(PRODUCTION, checks=(BETTER,)))
    view = await board.promote(await board.person("user:wim", "writer"), 1, STAGING, **options)
    bob = replace(await board.person("user:bob", "break-glass"), reason="it is down")

    done = await board.database.write(reviews.override, bob, **named(view))
    assert (done.state, (await stages(board))[0]) == ("overridden", "staging")


async def test_a_model_takes_nothing_out_of_a_protected_stage_and_brings_nothing_back_into_one(
    board: Board,
) -> None:
    write = board.database.write
    for of, target in ((1, STAGING), (2, PRODUCTION), (3, ARCHIVED)):
        await board.promote(act(), of, target)
    await write(deletions.remove, act(), reference=number(3))
    await board.set_policy(demanding(PRODUCTION))
    with pytest.raises(errors.PolicyRequiresPromotion, match="production"):
        await write(model_deletions.remove, act(), name=FRAUD)
    await board.set_policy(None)
    await write(model_deletions.remove, act(), name=FRAUD)
    await board.set_policy(demanding(PRODUCTION))

    await write(model_deletions.restore, act(), name=FRAUD)

    assert [(await version(board, of)).stage for of in (1, 2)] == ["staging", "development"]
    assert (await write(deletions.restore, act(), reference=number(3))).stage == "archived"
    await board.database.read(require_equal)


async def test_an_approval_applies_what_waits_for_nothing_any_more(board: Board) -> None:
    """The policy whose approval it waited for has gone, and nothing else would end it but its time."""
    await board.promote(act(), 1)
    await board.set_policy(demanding())
    wim, (ann,) = await board.person("user:wim", "writer"), await people(board, "ann")
    view = await board.promote(wim, 1, STAGING)
    assert asked(view) == [("careful", 1, 0)]
    await board.set_policy(None)
    assert asked(await board.see(view)) == []

    with pytest.raises(errors.ReviewerNotIndependent):
        await board.say(wim, view)
    assert (await board.say(ann, view)).state == "applied"

    assert (await stages(board))[0] == "staging"
    await board.database.read(require_equal)
