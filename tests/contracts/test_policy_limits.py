"""How many policies, reviews and parts of a policy there may be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from steelyard_server import errors
from steelyard_server.core import namespaces, reviews
from steelyard_server.core.policy_drafts import Approvals, Draft, Evaluations
from steelyard_server.core.reviews import View
from steelyard_server.db.database import Database
from steelyard_server.history.act import Act
from steelyard_server.limits import LIMITS
from tests.contracts.promoting import CHAMPION, PRODUCTION, SMALL, Board, demanding
from tests.contracts.registry import act, create, everything

LONG = LIMITS.promotion_seconds + 1


@pytest.fixture
async def board(registry: Database) -> Board:
    """Add a version to the registry."""
    await create(registry, 1)
    return Board(registry)


async def propose(board: Board, who: Act, name: str, draft: Draft) -> View:
    wanted: dict[str, Any] = {"namespace": "default", "name": name, "draft": draft}
    return await board.database.write(reviews.propose_policy, who, **wanted)


async def test_a_namespace_has_a_limited_number_of_policies(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "policies_count", 1)
    boss, ann = await board.person("user:boss", "admin"), await board.person("user:ann", "approver")
    first, second = [await propose(board, boss, name, demanding()) for name in ("first", "second")]
    assert (await board.say(ann, first)).state == "applied"

    # There was room when it was proposed.
    with pytest.raises(errors.LimitExceeded):
        await board.say(ann, second)
    with pytest.raises(errors.LimitExceeded):
        await propose(board, boss, "third", demanding())
    changed = await propose(board, boss, "first", demanding(CHAMPION))
    assert (await board.say(ann, changed)).state == "applied"


async def test_a_promotion_has_a_limited_number_of_comments(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "reviews_count", 1)
    await board.set_policy(demanding())
    view = await board.promote(await board.person("user:wim", "writer"), 1)
    ann = replace(await board.person("user:ann", "approver"), reason="why so?")
    await board.say(ann, view, "comment")

    with pytest.raises(errors.LimitExceeded):
        await board.say(ann, view, "comment")
    # Comments keep nobody from deciding.
    assert (await board.say(ann, view)).state == "applied"


@pytest.mark.parametrize(
    ("limit", "draft"),
    [
        ("policy_models_count", Draft(PRODUCTION, models=("a", "b"))),
        ("policy_checks_count", Draft(PRODUCTION, checks=(SMALL,), outside_checks=("bias",))),
        ("approval_subjects_count", demanding(roles=("approver",), groups=("group:risk",))),
        ("approvals_count", demanding(count=2)),
    ],
)
async def test_a_policy_has_a_limited_number_of_parts(
    board: Board, monkeypatch: pytest.MonkeyPatch, limit: str, draft: Draft
) -> None:
    boss = await board.person("user:boss", "admin")
    monkeypatch.setattr(LIMITS, limit, 1)
    with pytest.raises((errors.LimitExceeded, errors.OutOfBounds)):
        await propose(board, boss, "careful", draft)

    monkeypatch.setattr(LIMITS, limit, 2)
    assert (await propose(board, boss, "careful", draft)).state == "open"


@pytest.mark.parametrize(
    "rules",
    [
        {"models": ("fraud", "fraud")},
        {"approvals": Approvals(1, roles=("approver", "approver"))},
        {"approvals": Approvals(1, lifetime_seconds=LONG)},
        {"approvals": Approvals(1, lifetime_seconds=-1)},
        {"evaluations": Evaluations(age_seconds=LONG)},
        {"evaluations": Evaluations(age_seconds=-1)},
        {"outside_checks": ("no name",)},
    ],
)
async def test_a_policy_that_repeats_or_exceeds_something_is_refused(
    board: Board, rules: dict[str, Any]
) -> None:
    boss = await board.person("user:boss", "admin")
    before = await board.database.read(everything)

    with pytest.raises(errors.InvalidArgument):
        await propose(board, boss, "careful", Draft(PRODUCTION, **rules))
    assert await board.database.read(everything) == before


async def test_a_namespace_has_a_limited_number_of_stages(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "stages_count", 2)
    given: dict[str, Any] = {"name": "default", "mask": ("stages",)}
    two, three = (namespaces.Draft(stages=("development", "live", "old")[:count]) for count in (2, 3))

    await board.database.write(namespaces.modify, act(), draft=two, **given)
    with pytest.raises(errors.LimitExceeded):
        await board.database.write(namespaces.modify, act(), draft=three, **given)
