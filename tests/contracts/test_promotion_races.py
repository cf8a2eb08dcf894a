"""Promotions at once: what applies was judged on what was there, under the policies of that moment."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest
from sqlalchemy import select

from steelyard_server import errors
from steelyard_server.core import aliases, evaluations, models, reviews
from steelyard_server.core.content import Dataset, Metric
from steelyard_server.core.policy_drafts import Approvals, Check, Draft
from steelyard_server.core.reviews import View
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction
from tests.contracts.promoting import CHAMPION, PRODUCTION, SMALL, Board
from tests.contracts.registry import BLOB, FRAUD, act, create, number
from tests.contracts.stored import require_equal

VALUES = {1: 0.90, 2: 0.95, 3: 0.93, 4: 0.97, 5: 0.91, 6: 0.96}
ROUNDS = 15
_EVENTS = select(tables.events.c.content).order_by(tables.events.c.sequence)


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


async def test_of_versions_approved_at_once_each_is_judged_against_the_one_that_it_replaces(
    board: Board,
) -> None:
    await board.promote(act(), 1)
    better = Check("better", 'better("precision@holdout", 0.0)')
    await board.set_policy(Draft(PRODUCTION, checks=(better,), approvals=Approvals(1)))
    wim, ann = await board.person("user:wim", "writer"), await board.person("user:ann", "approver")
    proposed = [await board.promote(wim, of) for of in (2, 3, 4, 5, 6)]
    assert {(each.state, each.promotion.incumbent) for each in proposed} == {("open", 1)}

    said = await asyncio.gather(*(board.say(ann, each) for each in proposed))

    applied = sorted(
        (each.promotion for each in said if each.state == "applied"), key=lambda each: each.sequence
    )
    chain = [1, *(each.version for each in applied)]
    assert [each.incumbent for each in applied] == chain[:-1]
    assert all(VALUES[old] < VALUES[new] for old, new in itertools.pairwise(chain))
    for view in said:
        if view not in [each for each in said if each.state == "applied"]:
            require_refused_by_better(view, chain=chain)
    assert chain[-1] == 4
    await board.database.read(require_equal)


def require_refused_by_better(view: View, *, chain: list[int]) -> None:
    (check,) = view.promotion.checks
    assert (view.state, check.reason) == ("refused", "FALSE")
    assert view.promotion.incumbent in chain[1:]
    assert VALUES[view.promotion.incumbent] > VALUES[view.promotion.version]


async def test_no_alias_moves_by_hand_once_a_policy_protects_it(board: Board) -> None:
    async def protect(draft: Draft | None) -> None:
        wanted: dict[str, Any] = {"namespace": "default", "name": "careful", "draft": draft}
        await board.database.write(reviews.propose_policy, act(), **wanted)

    async def put(of: int) -> None:
        await board.database.write(aliases.put, act(), reference=number(of), name="champion")

    for _ in range(ROUNDS):
        moves = [put(1), put(2), protect(Draft(CHAMPION, checks=(SMALL,))), put(3), put(4), put(5)]
        for outcome in await asyncio.gather(*moves, return_exceptions=True):
            assert outcome is None or isinstance(outcome, errors.PolicyRequiresPromotion)
        await protect(None)

    protected = False
    for event in await board.database.read(told):
        assert not (protected and event["action"] == "alias.set"), event["sequence"]
        for change in event["changes"]:
            if change["resource"] == "policy/default/careful":
                protected = change["after"] is not None


def told(tx: Transaction) -> list[dict[str, Any]]:
    return [json.loads(bytes(row.content)) for row in tx.all(_EVENTS)]
