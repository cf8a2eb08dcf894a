"""Environments as targets: policies for them are checked and kept, and nothing goes there yet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steelyard_server import errors
from steelyard_server.core import governance, models
from steelyard_server.core.policy_drafts import Check, Draft
from steelyard_server.core.targets import Target
from steelyard_server.db.database import Database, Transaction
from tests.contracts.promoting import SMALL, Board
from tests.contracts.registry import FRAUD, act, create, everything
from tests.contracts.stored import require_equal

PRODUCTION = Target("environment", "production-*")
GUARDED = Draft(PRODUCTION, checks=(SMALL,))


@pytest.fixture
async def board(registry: Database) -> Board:
    await create(registry, 1)
    return Board(registry)


async def test_a_policy_for_environments_is_type_checked_kept_and_listed(board: Board) -> None:
    await board.set_policy(GUARDED)
    (found,) = await board.database.read(governance.page, namespace="default")
    assert (found.draft, found.revision) == (GUARDED, 1)

    with pytest.raises(errors.PolicyInvalid):
        await board.set_policy(replace(GUARDED, checks=(Check("wrong", "candidate.number"),)))
    await board.database.read(require_equal)


async def test_no_version_goes_to_an_environment_and_the_answer_says_why(board: Board) -> None:
    before = await board.database.read(everything)
    with pytest.raises(errors.EnvironmentNotFound, match="this server keeps none yet") as refused:
        await board.promote(act(), 1, Target("environment", "production-eu"))
    assert refused.value.metadata == {"environment": "production-eu"}
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
