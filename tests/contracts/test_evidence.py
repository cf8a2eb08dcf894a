"""Evidence: whose measures count on either side, which are kept, and when they are looked at again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from steelyard_server.core import copies, evaluations, manifest, models, reviews, versions
from steelyard_server.core.content import Dataset, Metric
from steelyard_server.core.policy_drafts import Approvals, Check, Draft, Evaluations
from steelyard_server.core.reviews import View
from steelyard_server.db import tables
from steelyard_server.db.database import Database
from steelyard_server.history.act import Act
from steelyard_server.limits import LIMITS
from tests.contracts.promoting import PRODUCTION, Board, named
from tests.contracts.registry import BLOB, FRAUD, act, build, create, number
from tests.contracts.stored import require_equal

ROBOT = act("service:ci")
HOLDOUT = (Dataset("holdout", digest=BLOB[0]),)
BETTER = Check("better", 'better("precision@holdout", 0.0)', passes_without_incumbent=True)
INDEPENDENT = Evaluations(independent=True)


@pytest.fixture
async def board(registry: Database) -> Board:
    """Add three versions that ada made, of which the first is in production."""
    draft = models.Draft(metric_directions={"precision": "higher-is-better"})
    await registry.write(models.modify, act(), name=FRAUD, draft=draft, mask=("metric_directions",))
    for seed in range(3):
        await create(registry, seed)
    board = Board(registry)
    await board.promote(act(), 1)
    return board


async def measure(board: Board, of: int, value: float, *, by: Act = ROBOT, **stated: Any) -> str:
    draft = evaluations.Draft((Metric("precision", "holdout", "", value),), HOLDOUT, **stated)
    recorded = await board.database.write(evaluations.record, by, reference=number(of), draft=draft)
    return recorded.evaluation.uid


async def made_by(board: Board, who: str, of: int) -> None:
    """Let somebody make the content of a version in another model."""
    model = f"default/{who.rpartition(':')[2]}"
    await board.database.write(models.create, act(), name=model, draft=models.Draft())
    await board.database.write(copies.copy, act(who), source=number(of), model=model)


def reason_of(view: View) -> str:
    (check,) = view.promotion.checks
    return check.reason


@pytest.mark.parametrize("who", ["user:wim", "user:maker", "user:former"])
async def test_nobody_with_an_interest_in_it_measures_the_incumbent_down(board: Board, who: str) -> None:
    """Wim proposes; the others made the content of the candidate, and of the incumbent."""
    wim = await board.person("user:wim", "writer")
    await made_by(board, "user:maker", 2)
    await made_by(board, "user:former", 1)
    await board.set_policy(Draft(PRODUCTION, checks=(BETTER,), evaluations=INDEPENDENT))
    await measure(board, 1, 0.95)
    await measure(board, 2, 0.91)
    await measure(board, 1, 0.10, by=act(who))

    view = await board.promote(wim, 2)

    assert (view.state, reason_of(view)) == ("refused", "FALSE")
    assert "candidate 0.91, incumbent 0.95" in view.promotion.checks[0].message


async def test_who_proposes_does_not_count_for_the_candidate_either(board: Board) -> None:
    await board.set_policy(Draft(PRODUCTION, checks=(BETTER,), evaluations=INDEPENDENT))
    await measure(board, 1, 0.90)
    await measure(board, 2, 0.95)

    assert reason_of(await board.promote(ROBOT, 2)) == "ABSENT"
    assert (await board.promote(act("service:deploy"), 2)).state == "applied"


async def test_what_the_maker_of_the_incumbent_wrote_down_does_not_count(board: Board) -> None:
    content = replace(build(9).content, metrics=(Metric("precision", "holdout", "", 0.10),), datasets=HOLDOUT)
    built, draft = manifest.build(content), versions.Draft()
    await board.database.write(versions.create, act(), model=FRAUD, built=built, draft=draft)
    await board.promote(act(), 4)
    await board.set_policy(Draft(PRODUCTION, checks=(BETTER,), evaluations=INDEPENDENT))
    await measure(board, 2, 0.91)

    view = await board.promote(act("service:deploy"), 2)

    assert (view.state, reason_of(view), view.promotion.incumbent) == ("refused", "ABSENT", 4)


async def test_without_such_a_demand_the_newest_measure_of_anybody_counts_and_is_shown(board: Board) -> None:
    await board.set_policy(Draft(PRODUCTION, checks=(BETTER,), evaluations=Evaluations()))
    first, low = await measure(board, 1, 0.95), await measure(board, 1, 0.10, by=act())
    own = await measure(board, 2, 0.91)

    view = await board.promote(act(), 2)

    assert (view.state, view.promotion.evaluations) == ("applied", (own,))
    assert view.promotion.incumbent_evaluations == (low, first)


async def test_the_measures_of_the_incumbent_are_kept_as_evidence_of_both_sides(board: Board) -> None:
    wim, ann = await board.person("user:wim", "writer"), await board.person("user:ann", "approver")
    await board.set_policy(Draft(PRODUCTION, checks=(BETTER,), approvals=Approvals(1)))
    uids = {of: await measure(board, of, value) for of, value in ((1, 0.90), (2, 0.92), (3, 0.94))}

    second, third = await board.promote(wim, 2), await board.promote(wim, 3)
    for view, own in ((second, 2), (third, 3)):
        kept = (await board.see(view)).promotion
        assert (kept.evaluations, kept.incumbent_evaluations) == ((uids[own],), (uids[1],))
    await board.say(ann, second)
    late = (await board.say(ann, third)).promotion

    assert (late.state, late.incumbent, late.incumbent_evaluations) == ("applied", 2, (uids[2],))
    await board.database.read(require_equal)


async def test_an_override_claims_no_evidence_of_an_incumbent_that_nobody_looked_at(board: Board) -> None:
    wim, ann = await board.person("user:wim", "writer"), await board.person("user:ann", "approver")
    hal = await board.person("user:hal", "break-glass")
    await board.set_policy(Draft(PRODUCTION, checks=(BETTER,), approvals=Approvals(1)))
    for of in (1, 2, 3):
        await measure(board, of, 0.9)
    second, third = await board.promote(wim, 2), await board.promote(wim, 3)
    await board.say(ann, second)

    forced = await board.database.write(reviews.override, Act(hal.caller, reason="it burns"), **named(third))

    assert (forced.promotion.incumbent, forced.promotion.incumbent_evaluations) == (2, ())
    await board.database.read(require_equal)


async def test_what_was_looked_at_is_found_again_behind_any_number_of_later_measures(board: Board) -> None:
    """More come for the candidate than a promotion looks at, before its checks run again."""
    wim, ann = await board.person("user:wim", "writer"), await board.person("user:ann", "approver")
    check = Check("high", 'candidate.metric("precision@holdout") > 0.9')
    await board.set_policy(Draft(PRODUCTION, checks=(check,), approvals=Approvals(1)))
    uid = await measure(board, 2, 0.95)
    await measure(board, 3, 0.95)
    second, third = await board.promote(wim, 2), await board.promote(wim, 3)
    await board.say(ann, third)
    for _ in range(LIMITS.promotion_evaluations_count):
        await measure(board, 2, 0.10)

    applied = await board.say(ann, second)

    assert (applied.state, applied.promotion.incumbent) == ("applied", 3)
    assert applied.promotion.evaluations == (uid,)


@pytest.mark.parametrize("rule", ["age", "now"])
async def test_what_time_has_changed_is_seen_when_the_last_approval_comes(board: Board, rule: str) -> None:
    """A policy bounds the age of evaluations, or asks for it in a check."""
    young = 'now - candidate.measure_time("precision@holdout") < duration("1h")'
    text = young if rule == "now" else 'candidate.has_metric("precision@holdout")'
    bound = Evaluations(age_seconds=3600) if rule == "age" else None
    checks = (Check("young", text),)
    await board.set_policy(Draft(PRODUCTION, checks=checks, approvals=Approvals(1), evaluations=bound))
    wim, ann = await board.person("user:wim", "writer"), await board.person("user:ann", "approver")
    uids = [await measure(board, of, 0.9) for of in (2, 3)]
    second, third = await board.promote(wim, 2), await board.promote(wim, 3)

    await grow_old(board, uids[0])
    await measure(board, 2, 0.9)
    stale, fresh = await board.say(ann, second), await board.say(ann, third)

    assert (second.state, stale.state, fresh.state) == ("open", "refused", "applied")
    assert reason_of(stale) == "FALSE"
    assert (stale.promotion.incumbent, stale.promotion.evaluations) == (1, (uids[0],))


async def grow_old(board: Board, uid: str) -> None:
    """Let two hours go by for an evaluation."""
    moved = tables.evaluations.c.evaluate_time - 7_200_000_000
    old = update(tables.evaluations).where(tables.evaluations.c.uid == uid).values(evaluate_time=moved)
    await board.database.write(lambda tx: tx.run(old, {}))


async def test_where_time_changes_nothing_the_checks_do_not_run_again(board: Board) -> None:
    wim, ann = await board.person("user:wim", "writer"), await board.person("user:ann", "approver")
    await board.set_policy(Draft(PRODUCTION, checks=(BETTER,), approvals=Approvals(1)))
    await measure(board, 1, 0.9)
    await measure(board, 2, 0.9)
    view = await board.promote(wim, 2)

    said = await board.database.write(reviews.review, ann, **named(view), verdict="approve")

    assert said.state == "applied"


async def test_an_evaluation_of_the_incumbent_may_be_older_than_one_of_the_candidate(board: Board) -> None:
    await board.set_policy(Draft(PRODUCTION, checks=(BETTER,), evaluations=Evaluations(age_seconds=3600)))
    await grow_old(board, await measure(board, 1, 0.9))
    await measure(board, 2, 0.95)

    assert (await board.promote(act(), 2)).state == "applied"
