"""What bounds reviews keeps nobody from deciding: approvals that expired, and many comments."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update

from steelyard_server import errors
from steelyard_server.core import promotions
from steelyard_server.core.promotions import Review
from steelyard_server.core.reviews import View
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction
from steelyard_server.history import canonical
from steelyard_server.limits import LIMITS
from tests.contracts.promoting import Board, demanding
from tests.contracts.registry import create, everything

LONG_AGO = "2001-01-01T00:00:00.000000Z"


@pytest.fixture
async def board(registry: Database) -> Board:
    """Add a version to the registry."""
    await create(registry, 0)
    return Board(registry)


async def rewrite(board: Board, view: View, *reviews: Review) -> None:
    """Put reviews in place of those of the only promotion of a model."""
    content = canonical.text(promotions.content_of(replace(view.promotion, reviews=reviews)))
    statement = update(tables.promotions).where(tables.promotions.c.model_id > 0).values(content=content)

    def write(tx: Transaction) -> None:
        tx.run(statement, {})

    await board.database.write(write)


async def test_an_approval_that_expired_is_given_again(board: Board) -> None:
    await board.set_policy(demanding(count=2, lifetime_seconds=60))
    view = await board.promote(await board.person("user:wim", "writer"), 1)
    ann, eve = await board.person("user:ann", "approver"), await board.person("user:eve", "approver")
    said = await board.say(ann, view)
    with pytest.raises(errors.ReviewGiven):
        await board.say(ann, view)
    await rewrite(board, said, replace(said.promotion.reviews[0], create_time=LONG_AGO))
    assert "approve" in (await board.see(view, caller=ann.caller)).actions

    again = await board.say(ann, view)

    assert [given for _, given in again.approvals] == [1]
    with pytest.raises(errors.ReviewGiven):
        await board.say(ann, view)
    assert (await board.say(eve, view)).state == "applied"


async def test_an_approval_is_given_again_when_a_role_made_it_count_for_more(board: Board) -> None:
    await board.set_policy(demanding(roles=("approver",)))
    await board.set_policy(demanding(groups=("group:risk",)), name="office")
    view = await board.promote(await board.person("user:wim", "writer"), 1)
    ann = await board.person("user:ann", "approver")
    await board.say(ann, view)

    await board.group("risk", "user:ann")

    assert (await board.say(await board.again(ann), view)).state == "applied"


async def test_comments_keep_nobody_from_deciding(board: Board) -> None:
    await board.set_policy(demanding(count=2))
    view = await board.promote(await board.person("user:wim", "writer"), 1)
    ann, eve = await board.person("user:ann", "approver"), await board.person("user:eve", "approver")
    ann = replace(ann, reason="look here")
    said = await board.say(ann, view, "comment")
    await rewrite(board, said, *(LIMITS.reviews_count * said.promotion.reviews))
    before = await board.database.read(everything)

    for who in (ann, replace(eve, reason="and here")):
        with pytest.raises(errors.LimitExceeded):
            await board.say(who, view, "comment")
    assert await board.database.read(everything) == before
    assert (await board.say(ann, view)).state == "open"
    assert (await board.say(ann, view, "withdraw")).state == "open"
    await board.say(ann, view)
    assert (await board.say(eve, view)).state == "applied"


async def test_the_approvals_of_one_person_are_bounded(board: Board) -> None:
    await board.set_policy(demanding(count=2))
    view = await board.promote(await board.person("user:wim", "writer"), 1)
    ann, eve = await board.person("user:ann", "approver"), await board.person("user:eve", "approver")
    said = await board.say(ann, view)
    taken_back = replace(said.promotion.reviews[0], withdrawn=True)
    await rewrite(board, said, *(LIMITS.reviews_count * [taken_back]))

    with pytest.raises(errors.LimitExceeded):
        await board.say(ann, view)
    assert (await board.say(eve, view)).state == "open"
    assert (await board.say(ann, view, "reject")).state == "refused"
