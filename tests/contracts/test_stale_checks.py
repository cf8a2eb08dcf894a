"""What checks found counts only while it is so: for the same version, policies and incumbent."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from steelyard_server import errors
from steelyard_server.core import evaluations, evidence, promoting, reviews
from steelyard_server.core.content import Metric
from steelyard_server.core.policy_drafts import Approvals, Check, Draft
from steelyard_server.core.reviews import View
from steelyard_server.db import tables
from steelyard_server.db.database import Database
from tests.contracts.promoting import CHAMPION, PRODUCTION, SMALL, Board, demanding, named
from tests.contracts.registry import act, create, everything, number
from tests.contracts.stored import require_equal

WANTED: dict[str, Any] = {"reference": number(1), "target": PRODUCTION}


@pytest.fixture
async def board(registry: Database) -> Board:
    """Add three versions to the registry."""
    for seed in range(3):
        await create(registry, seed)
    return Board(registry)


async def judged(board: Board, **wanted: Any) -> evidence.Judged:
    return evidence.judge(
        await board.database.read(promoting.gather, **WANTED | {"author": "user:wim"} | wanted), formats={}
    )


async def judged_again(board: Board, view: View) -> evidence.Judged:
    return evidence.judge(await board.database.read(promoting.gather_again, **named(view)), formats={})


@pytest.mark.parametrize("meanwhile", ["changed", "removed and made anew", "another one", "incumbent"])
async def test_what_was_found_before_a_change_lets_nothing_through(board: Board, meanwhile: str) -> None:
    never = Draft(PRODUCTION, checks=(Check("never", "false"),))
    await board.set_policy(Draft(PRODUCTION, checks=(SMALL,)))
    found = await judged(board)

    if meanwhile == "incumbent":
        await board.promote(await board.person("user:wim", "writer"), 2)
    elif meanwhile == "another one":
        await board.set_policy(never, name="second")
    else:
        if meanwhile != "changed":
            await board.set_policy(None)
        await board.set_policy(never)

    wim = await board.login("user:wim")
    before = await board.database.read(everything)
    with pytest.raises(promoting.Stale):
        await board.database.write(reviews.propose, wim, judged=found, **WANTED)
    assert await board.database.read(everything) == before


async def test_what_was_found_of_another_version_lets_nothing_through(board: Board) -> None:
    await board.set_policy(Draft(PRODUCTION, checks=(Check("second", "candidate.number == 2"),)))
    wim = await board.person("user:wim", "writer")
    found = await judged(board, reference=number(2))

    with pytest.raises(promoting.Stale):
        await board.database.write(reviews.propose, wim, judged=found, **WANTED)
    assert (await board.promote(wim, 1)).state == "refused"


async def test_an_approval_takes_nothing_that_was_found_beside_another_incumbent(board: Board) -> None:
    """The incumbent moves once after the proposal, and again while the checks of the approval run."""
    wim, ann = await board.person("user:wim", "writer"), await board.person("user:ann", "approver")
    check = Check("later", "incumbent.number < candidate.number", passes_without_incumbent=True)
    await board.set_policy(Draft(PRODUCTION, checks=(check,), approvals=Approvals(1)))
    second, first, third = [await board.promote(wim, of) for of in (2, 1, 3)]
    await board.say(ann, first)
    found = await judged_again(board, second)
    await board.say(ann, third)
    before = await board.database.read(everything)

    with pytest.raises(promoting.Stale):
        await board.database.write(reviews.review, ann, **named(second), verdict="approve", judged=found)
    assert await board.database.read(everything) == before
    late = await board.say(ann, second)
    assert (late.state, late.promotion.incumbent) == ("refused", 3)
    await board.database.read(require_equal)


async def test_checks_that_run_again_look_at_no_measure_that_came_later(board: Board) -> None:
    wim, ann = await board.person("user:wim", "writer"), await board.person("user:ann", "approver")
    check = Check("high", 'candidate.metric("precision") > 0.9')
    await board.set_policy(Draft(PRODUCTION, checks=(check,), approvals=Approvals(1)))
    good, other = await measure(board, 1, 0.93), await measure(board, 2, 0.95)
    first, second = await board.promote(wim, 1), await board.promote(wim, 2)
    await measure(board, 1, 0.1)
    await board.say(ann, second)

    applied = await board.say(ann, first)

    assert (applied.state, applied.promotion.incumbent) == ("applied", 2)
    assert (applied.promotion.evaluations, second.promotion.evaluations) == ((good,), (other,))


async def measure(board: Board, of: int, value: float) -> str:
    draft = evaluations.Draft((Metric("precision", "", "", value),))
    robot = act("service:ci")
    recorded = await board.database.write(evaluations.record, robot, reference=number(of), draft=draft)
    return recorded.evaluation.uid


async def reopen(board: Board) -> None:
    """Forget what ended promotions, as if nothing had been written when that came."""
    await board.database.write(lambda tx: tx.run(update(tables.promotions).values(ended=""), {}))


async def test_what_was_judged_under_other_policies_is_not_applied_whatever_was_written(board: Board) -> None:
    await board.set_policy(demanding())
    view = await board.promote(await board.person("user:wim", "writer"), 1)
    await board.set_policy(demanding(count=1, lifetime_seconds=60))
    await reopen(board)

    assert (await board.see(view)).state == "superseded"
    with pytest.raises(errors.PromotionClosed) as refused:
        await board.say(await board.person("user:ann", "approver"), view)
    assert refused.value.metadata["state"] == "superseded"


async def test_an_alias_does_not_move_to_a_version_that_was_revoked_whatever_was_written(
    board: Board,
) -> None:
    await board.set_policy(demanding(CHAMPION))
    view = await board.promote(await board.person("user:wim", "writer"), 1, CHAMPION)
    await board.database.write(reviews.revoke, act(reason="bad"), reference=number(1))
    await reopen(board)

    with pytest.raises(errors.VersionRevoked):
        await board.say(await board.person("user:ann", "approver"), view)


async def test_a_promotion_lifts_the_revocation_that_it_was_made_for_and_no_later_one(board: Board) -> None:
    revoked = {"reference": number(1)}
    await board.database.write(reviews.revoke, act(reason="bad"), **revoked)
    wim, ann = await board.person("user:wim", "writer"), await board.person("user:ann", "approver")
    first, second = await board.promote(wim, 1), await board.promote(wim, 1, CHAMPION)
    assert (await board.say(ann, first)).state == "applied"
    await board.database.write(reviews.revoke, act(reason="worse"), **revoked)
    await reopen(board)

    with pytest.raises(errors.VersionRevoked):
        await board.say(ann, second)
