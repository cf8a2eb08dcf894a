"""Lists of stages: a stage that something needs stays in the list, and the archive must be one of them."""

from __future__ import annotations

import pytest

from steelyard_server import errors
from steelyard_server.core import deletions, namespaces, reviews, versions
from steelyard_server.core.policy_drafts import Draft
from steelyard_server.core.targets import Target
from steelyard_server.db.database import Database
from steelyard_server.history.act import Act
from tests.contracts.promoting import PRODUCTION, SMALL, Board, demanding
from tests.contracts.registry import act, create, everything, number
from tests.contracts.stored import require_equal

ARCHIVED, STAGING = Target("stage", "archived"), Target("stage", "staging")


@pytest.fixture
async def board(registry: Database) -> Board:
    """Add two versions to the registry."""
    for seed in range(2):
        await create(registry, seed)
    return Board(registry)


async def listed(board: Board, *stages: str, who: Act | None = None) -> None:
    draft = namespaces.Draft(stages=stages)
    await board.database.write(namespaces.modify, who or act(), name="default", draft=draft, mask=("stages",))


async def refused(board: Board, *stages: str, who: Act | None = None) -> tuple[str, str]:
    """Demand that this list is refused, and say which kind of thing needs which stage."""
    before = await board.database.read(everything)
    with pytest.raises(errors.StageInUse, match="first") as error:
        await listed(board, *stages, who=who)
    assert await board.database.read(everything) == before
    assert (error.value.field, error.value.metadata["namespace"]) == ("namespace.stages", "default")
    return error.value.metadata["because"], error.value.metadata["by"]


async def test_a_stage_that_a_policy_protects_is_not_renamed(board: Board) -> None:
    await board.set_policy(demanding())
    admin = await board.person("user:root", "admin")

    assert await refused(board, "development", "prod", "archived", who=admin) == ("policy", "default/careful")

    await listed(board, "development", "canary", "production", who=admin)
    await board.set_policy(None)
    await listed(board, "development", "prod", who=admin)
    await board.database.read(require_equal)


async def test_a_stage_in_which_a_version_is_stays_until_that_goes(board: Board) -> None:
    await board.promote(act(), 1, STAGING)

    assert await refused(board, "development", "production") == ("version", "default/fraud:1")

    await board.promote(act(), 1, PRODUCTION)
    await listed(board, "development", "production")
    await board.database.read(require_equal)


async def test_the_usual_stages_are_a_list_too(board: Board) -> None:
    await listed(board, "development", "live")
    await board.promote(act(), 1, Target("stage", "live"))

    assert await refused(board) == ("version", "default/fraud:1")


async def test_a_stage_to_which_a_promotion_is_open_stays_until_that_ends(board: Board) -> None:
    await board.promote(act(), 1)
    await board.set_policy(demanding())
    view = await board.promote(await board.person("user:wim", "writer"), 1, STAGING)
    assert view.state == "open"

    assert await refused(board, "development", "production") == ("promotion", "default/fraud#2")

    await board.database.write(reviews.cancel, act(), scope="default/fraud", number=2)
    await listed(board, "development", "production")


async def test_a_deleted_version_comes_back_into_no_stage_that_is_not_any_more(board: Board) -> None:
    await board.promote(act(), 1, STAGING)
    await board.database.write(deletions.remove, act(), reference=number(1))
    await listed(board, "development", "production")
    await board.database.write(deletions.restore, act(), reference=number(1))

    assert (await board.database.read(versions.get, reference=number(1))).stage == "development"
    await board.database.read(require_equal)


async def test_a_policy_whose_stage_went_meanwhile_is_not_set(board: Board) -> None:
    boss, ann = await board.person("user:boss", "admin"), await board.person("user:ann", "approver")
    wanted = {"namespace": "default", "name": "careful", "draft": Draft(PRODUCTION, checks=(SMALL,))}
    view = await board.database.write(reviews.propose_policy, boss, **wanted)
    await listed(board, "development", "live")

    with pytest.raises(errors.StageUnknown):
        await board.say(ann, view)


async def test_no_incumbent_is_archived_where_there_is_no_archive(board: Board) -> None:
    await listed(board, "development", "live")
    live = Target("stage", "live")
    await board.promote(act(), 1, live)
    before = await board.database.read(everything)

    with pytest.raises(errors.StageUnknown, match="has no stage archived for the incumbent") as unknown:
        await board.promote(act(), 2, live, archive_incumbent=True)

    assert unknown.value.field == "archive_incumbent"
    assert unknown.value.metadata == {"stage": "archived", "stages": "development live"}
    assert await board.database.read(everything) == before
    assert (await board.promote(act(), 2, live)).state == "applied"


async def test_no_incumbent_goes_to_an_archive_that_a_policy_has_protected_meanwhile(board: Board) -> None:
    await board.promote(act(), 1)
    await board.set_policy(demanding())
    view = await board.promote(await board.person("user:wim", "writer"), 2, archive_incumbent=True)
    await board.set_policy(demanding(ARCHIVED), name="archive")

    with pytest.raises(errors.PolicyRequiresPromotion) as refused:
        await board.say(await board.person("user:ann", "approver"), view)
    assert refused.value.metadata["target"] == "stage archived"
    assert (await board.database.read(versions.get, reference=number(1))).stage == "production"
    assert (await board.see(view)).state == "open"


async def test_what_an_archive_that_is_protected_would_stop_is_refused_at_once(board: Board) -> None:
    await board.set_policy(demanding())
    await board.set_policy(demanding(ARCHIVED), name="archive")
    wim = await board.person("user:wim", "writer")

    with pytest.raises(errors.PolicyRequiresPromotion) as refused:
        await board.promote(wim, 1, archive_incumbent=True)
    assert refused.value.metadata["target"] == "stage archived"
    assert (await board.promote(wim, 1)).state == "open"
