"""Promotions are found by filters, page by page, and what is listed as open is open."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from steelyard_server import errors
from steelyard_server.core import models, reviews, versions
from steelyard_server.core.policy_drafts import Draft
from steelyard_server.core.targets import Target
from steelyard_server.db import tables
from steelyard_server.db.database import Database
from tests.contracts.promoting import CHAMPION, PRODUCTION, SMALL, Board, demanding
from tests.contracts.registry import FRAUD, act, create, number

STAGING = Target("stage", "staging")
# What is listed, by number, the newest first: refused, superseded, open, applied, cancelled, and of a policy.
FOUND: dict[str, list[int]] = {
    "": [7, 6, 5, 4, 3, 2, 1],
    "state = applied": [7, 1],
    "state = open": [6],
    "state = superseded": [2],
    "state = refused": [5, 4],
    "state = cancelled": [3],
    "state != applied": [6, 5, 4, 3, 2],
    "NOT state = open": [7, 5, 4, 3, 2, 1],
    "state = overridden OR state = expired": [],
    "target.stage = production": [6, 4, 3, 2],
    "target.stage:*": [7, 6, 4, 3, 2, 1],
    "target.alias = champion": [5],
    "NOT target.stage = production": [7, 5, 1],
    "policy = careful": [6, 4, 3, 2],
    "policy:*": [6, 5, 4, 3, 2],
    "NOT policy = careful": [7, 5, 1],
    "version = 1": [4, 1],
    "number > 5": [7, 6],
    "author = ada": [7, 1],
    'author = "user:*"': [6, 5, 4, 3, 2],
    "model = fraud": [7, 6, 5, 4, 3, 2, 1],
    "model = other": [],
    "create_time > 2026-01-01 AND expire_time > 2026-01-01 AND update_time > 2026-01-01": [
        7,
        6,
        5,
        4,
        3,
        2,
        1,
    ],
    "create_time < 2026-01-01": [],
    "sequence = 1": [],
}


@pytest.fixture
async def board(registry: Database) -> Board:
    """Make a promotion in each state."""
    for seed in range(4):
        await create(registry, seed)
    board = Board(registry)
    wim = await board.person("user:wim", "writer")
    await board.promote(act(), 1, STAGING)
    await board.set_policy(demanding())
    await board.promote(wim, 2)
    await board.set_policy(demanding(count=2))
    await registry.write(
        reviews.cancel, wim, scope=FRAUD, number=(await board.promote(wim, 3)).promotion.number
    )
    rejected = await board.promote(wim, 1)
    await board.say(await board.person("user:ann", "approver"), rejected, "reject")
    await board.set_policy(demanding(CHAMPION), name="strict")
    await board.promote(wim, 4, CHAMPION)
    await registry.write(reviews.revoke, act(reason="bad"), reference=number(4))
    await board.promote(wim, 3)
    await board.promote(act(), 2, STAGING)
    return board


async def listed(board: Board, scope: str = FRAUD, **query: Any) -> list[reviews.View]:
    """Read all pages, two promotions each."""
    found: list[reviews.View] = []
    after = None
    while True:
        views, after = await board.database.read(
            reviews.page, **{"caller": act().caller} | query, scope=scope, after=after, page_size=2
        )
        found += views
        if after is None:
            return found


async def test_each_filter_finds_what_it_says_and_states_are_those_shown(board: Board) -> None:
    for text, numbers in FOUND.items():
        for scope in (FRAUD, "default/-"):
            found = await listed(board, scope, filter=f"({text}) AND model:*" if text else "model:*")
            assert [each.promotion.number for each in found] == numbers, text
    for view in await listed(board, "default/-"):
        same = await listed(board, "default/-", filter=f"state = {view.state}")
        assert view.promotion.text in [each.promotion.text for each in same]


async def test_an_order_is_followed_over_pages(board: Board) -> None:
    for order_by, numbers in (
        ("number", [1, 2, 3, 4, 5, 6, 7]),
        ("target.alias, number", [5, 1, 2, 3, 4, 6, 7]),
        ("version desc, number desc", [5, 6, 3, 7, 2, 4, 1]),
        ("expire_time desc", [7, 6, 5, 4, 3, 2, 1]),
    ):
        found = await listed(board, order_by=order_by)
        assert [each.promotion.number for each in found] == numbers, order_by


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("state = waiting", 9),
        ("state > open", 9),
        ('state = "op*"', 9),
        ('policy = "care*"', 10),
        ("policy != careful", 11),
        ("champion", 1),
        ("reason = x", 1),
    ],
)
async def test_a_filter_that_is_wrong_is_refused_with_its_column(
    board: Board, text: str, column: int
) -> None:
    with pytest.raises(errors.FilterInvalid) as refused:
        await listed(board, filter=text)
    assert refused.value.metadata["column"] == str(column)


async def test_promotions_of_policies_are_in_the_namespace(board: Board) -> None:
    found = await listed(board, "default", filter="target.policy = careful")
    assert [(each.promotion.text, each.state) for each in found] == [
        ("default#2", "applied"),
        ("default#1", "applied"),
    ]


async def test_who_is_waited_for_sees_it(board: Board) -> None:
    await board.set_policy(Draft(PRODUCTION, outside_checks=("bias",)), name="third")
    await board.promote(act(), 1, PRODUCTION)
    people = {
        "user:kim": await board.person("user:kim", "approver"),
        "user:ann": await board.login("user:ann"),
        "service:ci": await board.person("service:ci", "evaluator"),
        "user:wim": await board.login("user:wim"),
    }
    waiting = {
        name: [
            each.promotion.number for each in await listed(board, caller=who.caller, waits_for_caller=True)
        ]
        for name, who in people.items()
    }
    assert waiting == {"user:kim": [8], "user:ann": [8], "service:ci": [8], "user:wim": []}


async def test_what_a_change_of_policies_ended_stays_ended(board: Board) -> None:
    (view,) = await listed(board, filter="state = open")
    await board.set_policy(Draft(PRODUCTION, models=("fraud",), checks=(SMALL,)), name="another")
    assert (await board.see(view)).state == "superseded"
    await board.set_policy(None, name="another")

    seen = await board.see(view)
    assert (seen.state, seen.actions) == ("superseded", ["override"])
    assert await listed(board, filter="state = open") == []


async def test_what_has_had_its_time_is_found_as_expired_and_waits_for_nobody(board: Board) -> None:
    (view,) = await listed(board, filter="state = open")
    late = update(tables.promotions).where(tables.promotions.c.number == view.promotion.number)
    await board.database.write(lambda tx: tx.run(late.values(expire_time=1), {}))

    assert await listed(board, filter="state = open") == []
    (found,) = await listed(board, filter="state = expired")
    assert (found.promotion.text, found.state) == (view.promotion.text, "expired")
    kim = await board.person("user:kim", "approver")
    assert await listed(board, caller=kim.caller, waits_for_caller=True) == []


async def test_a_policy_of_other_models_ends_nothing_until_a_rename_leads_into_it(board: Board) -> None:
    await board.set_policy(Draft(PRODUCTION, models=("churn",), checks=(SMALL,)), name="another")
    (view,) = await listed(board, filter="state = open")
    await board.database.write(models.rename, act(), name=FRAUD, new_name="default/churn")

    assert (await board.see(view)).state == "superseded"
    assert await listed(board, "default/churn", filter="state = open") == []
    found = await board.database.read(versions.get, reference=number(3, model="default/churn"))
    assert found.stage == "development"
