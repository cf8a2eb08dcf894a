"""What shows wherever a version does: that it was revoked, and that a policy was overridden for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steelyard_server import errors
from steelyard_server.core import (
    aliases,
    copies,
    deletions,
    files,
    models,
    namespaces,
    reviews,
    versions,
)
from steelyard_server.core.policy_drafts import Check, Draft
from steelyard_server.core.reviews import View
from steelyard_server.core.targets import Target
from steelyard_server.core.versions import Version
from steelyard_server.db.database import Database
from steelyard_server.history.act import Act
from tests.contracts.promoting import CHAMPION, PRODUCTION, Board, demanding, named
from tests.contracts.registry import FRAUD, act, by_alias, create, everything, number
from tests.contracts.stored import require_equal

NEVER = Draft(PRODUCTION, checks=(Check("never", "false"),))
BAD = act("eve", reason="it leaks")


@pytest.fixture
async def board(registry: Database) -> Board:
    """Add three versions to the registry."""
    for seed in range(3):
        await create(registry, seed)
    return Board(registry)


async def version(board: Board, of: int = 1) -> Version:
    return await board.database.read(versions.get, reference=number(of))


async def override(board: Board, who: Act, view: View) -> View:
    return await board.database.write(reviews.override, who, **named(view))


async def revoke(board: Board, who: Act = BAD, *, of: int = 1) -> Version:
    return await board.database.write(reviews.revoke, who, reference=number(of))


async def test_an_override_applies_what_was_refused_and_nobody_can_miss_it(board: Board) -> None:
    await board.set_policy(NEVER)
    refused = await board.promote(await board.person("user:wim", "writer"), 1)
    bob = replace(await board.person("user:bob", "break-glass"), reason="the old one is down")
    assert refused.state == "refused"
    assert (await board.see(refused, caller=bob.caller)).actions == ["override"]

    done = await override(board, bob, refused)

    assert (done.state, done.actions, done.comments) == ("overridden", [], ["the old one is down"])
    found = await version(board)
    assert (found.stage, found.marks["override"]["promotion"]) == ("production", "default/fraud#1")
    assert found.marks["override"]["actor"]["id"] == "user:bob"
    listed = await board.database.read(versions.page, model=FRAUD, order_by="number")
    assert [bool(each.marks) for each in listed.entries] == [True, False, False]
    assert (await board.promote(await board.login("user:wim"), 2)).promotion.incumbent == 1
    await board.database.read(require_equal)


async def test_an_override_needs_a_person_a_reason_and_something_to_override(board: Board) -> None:
    await board.set_policy(NEVER)
    view = await board.promote(act(), 1)
    bob = replace(await board.person("user:bob", "break-glass"), reason="now")
    robot = replace(await board.person("service:bob", "break-glass"), reason="now")

    with pytest.raises(errors.FieldRequired):
        await override(board, replace(bob, reason=""), view)
    with pytest.raises(errors.ReviewerNotPerson):
        await override(board, robot, view)
    await override(board, bob, view)
    with pytest.raises(errors.PromotionClosed):
        await override(board, bob, view)
    of_policy = {"scope": "default", "number": 1}
    with pytest.raises(errors.PromotionClosed):
        await board.database.write(reviews.override, bob, **of_policy)
    with pytest.raises(errors.EnumInvalid):
        await board.say(bob, view, "override")


@pytest.mark.parametrize("ending", ["open", "superseded"])
async def test_what_waits_and_what_is_superseded_can_be_overridden(board: Board, ending: str) -> None:
    await board.set_policy(demanding(CHAMPION))
    view = await board.promote(await board.person("user:wim", "writer"), 1, CHAMPION)
    if ending == "superseded":
        await board.set_policy(demanding(CHAMPION, count=2))
    assert (await board.see(view)).state == ending

    await override(board, act("user:bob", reason="now"), view)

    assert (await board.see(view)).state == "overridden"
    with pytest.raises(errors.PromotionClosed):
        await override(board, act("user:bob", reason="again"), view)
    assert (await version(board)).aliases == ["champion"]
    assert "override" in (await version(board)).marks
    await board.database.read(require_equal)


async def test_what_a_policy_stopped_is_not_overridden_once_its_version_is_revoked(board: Board) -> None:
    await board.set_policy(NEVER)
    refused = await board.promote(act(), 1)
    assert refused.state == "refused"
    await revoke(board)
    before = await board.database.read(everything)

    with pytest.raises(errors.VersionRevoked):
        await override(board, act("user:bob", reason="now"), refused)
    assert await board.database.read(everything) == before


async def test_what_was_overridden_goes_to_no_stage_that_went_meanwhile(board: Board) -> None:
    await board.set_policy(NEVER)
    refused = await board.promote(act(), 1)
    await board.set_policy(None)
    draft = namespaces.Draft(stages=("development", "live"))
    await board.database.write(namespaces.modify, act(), name="default", draft=draft, mask=("stages",))

    with pytest.raises(errors.StageUnknown):
        await override(board, act("user:bob", reason="now"), refused)


async def test_a_copy_has_no_marks_of_its_source(board: Board) -> None:
    await board.set_policy(NEVER)
    await override(board, act("user:bob", reason="now"), await board.promote(act(), 1))
    await board.database.write(models.create, act(), name="default/copy", draft=models.Draft())

    copied = await board.database.write(copies.copy, act(), source=number(1), model="default/copy")

    assert (copied.version.marks, copied.version.stage) == ({}, "development")
    await board.database.read(require_equal)


@pytest.mark.parametrize("stage", ["development", "archived"])
async def test_what_is_taken_out_of_use_stays_revoked_also_where_nothing_is_protected(
    board: Board, stage: str
) -> None:
    await board.promote(act(), 1)
    await revoke(board)

    moved = await board.promote(act(), 1, Target("stage", stage))

    assert moved.state == "applied"
    found = await version(board)
    assert (found.stage, "revocation" in found.marks) == (stage, True)


async def test_a_revoked_version_is_neither_read_nor_copied_nor_pointed_to(board: Board) -> None:
    write, read = board.database.write, board.database.read
    await write(models.create, act(), name="default/copy", draft=models.Draft())
    for of in (1, 2):
        await write(aliases.put, act(), reference=number(of), name="champion")

    revoked = await revoke(board)

    assert revoked.marks["revocation"]["actor"]["id"] == "eve"
    before = await read(everything)
    with pytest.raises(errors.VersionRevoked) as refused:
        await read(files.find, reference=number(1), path="model.onnx")
    assert refused.value.metadata["number"] == "1"
    with pytest.raises(errors.VersionRevoked):
        await read(files.find_all, reference=number(1), wanted=["model.onnx"])
    with pytest.raises(errors.VersionRevoked):
        await write(copies.copy, act(), source=number(1), model="default/copy")
    with pytest.raises(errors.VersionRevoked):
        await write(aliases.put, act(), reference=number(1), name="other")
    with pytest.raises(errors.NoRollbackTarget, match="revoked"):
        await write(aliases.rollback, act(), model=FRAUD, name="champion")
    with pytest.raises(errors.VersionRevoked):
        await revoke(board)
    with pytest.raises(errors.FieldRequired):
        await revoke(board, act(), of=2)
    assert await read(everything) == before
    await read(require_equal)


async def test_what_points_to_a_revoked_version_stays_and_leads_to_no_bytes(board: Board) -> None:
    write, read = board.database.write, board.database.read
    await board.promote(act(), 2)
    for name in ("champion", "other"):
        await write(aliases.put, act(), reference=number(2), name=name)
    await write(deletions.remove, act(), reference=number(3))
    await revoke(board, of=2)

    for reference in (by_alias("champion"), by_alias("latest"), number(2)):
        found = await read(versions.get, reference=reference)
        assert (found.number, found.stage, "revocation" in found.marks) == (2, "production", True)
        with pytest.raises(errors.VersionRevoked):
            await read(files.find, reference=reference, path="model.onnx")
    # A rename, an undeletion and the same content again undo nothing.
    await write(aliases.remove, act(), model=FRAUD, name="champion")
    await write(aliases.remove, act(), model=FRAUD, name="other")
    await write(deletions.remove, act(), reference=number(2))
    await write(deletions.restore, act(), reference=number(2))
    await write(models.rename, act(), name=FRAUD, new_name="default/churn")
    with pytest.raises(errors.VersionRevoked):
        await read(files.find, reference=number(2, model="default/churn"), path="model.onnx")
    await read(require_equal)


async def test_a_promotion_that_was_open_when_its_version_was_revoked_is_refused_at_once(
    board: Board,
) -> None:
    await board.set_policy(demanding())
    view = await board.promote(await board.person("user:wim", "writer"), 1)
    await revoke(board)

    bob = await board.person("user:bob", "break-glass")
    seen = await board.see(view, caller=bob.caller)
    assert (seen.state, seen.why) == ("refused", f"{FRAUD}#1 is not open: its version was revoked.")
    assert seen.actions == []
    with pytest.raises(errors.PromotionClosed, match="its version was revoked"):
        await board.say(await board.person("user:ann", "approver"), view)
    with pytest.raises(errors.PromotionClosed, match="its version was revoked"):
        await override(board, act("user:bob", reason="now"), view)
    assert (await version(board)).stage == "development"
    await board.database.read(require_equal)


async def test_a_revoked_version_comes_into_use_again_by_a_promotion_of_two_persons(
    board: Board,
) -> None:
    await board.promote(act(), 1)
    await revoke(board)
    wim, ann = await board.person("user:wim", "writer"), await board.person("user:ann", "approver")

    view = await board.promote(wim, 1)
    assert (view.state, [(each.policy, given) for each, given in view.approvals]) == ("open", [("", 0)])
    with pytest.raises(errors.ReviewerNotIndependent):
        await board.say(await board.person("user:wim", "approver"), view)
    assert (await board.say(ann, view)).state == "applied"

    assert (await version(board)).marks == {}
    await board.database.read(files.find, reference=number(1), path="model.onnx")
    await board.database.read(require_equal)


async def test_an_approval_does_not_undo_a_later_revocation(board: Board) -> None:
    await revoke(board)
    wim, ann = await board.person("user:wim", "writer"), await board.person("user:ann", "approver")
    first, second = await board.promote(wim, 1), await board.promote(wim, 1, CHAMPION)
    await board.say(ann, first)
    await revoke(board)

    with pytest.raises(errors.PromotionClosed):
        await board.say(ann, second)
    assert "revocation" in (await version(board)).marks


async def test_a_deleted_version_ends_its_open_promotions_and_those_of_others_go_on(board: Board) -> None:
    await board.set_policy(demanding())
    wim = await board.person("user:wim", "writer")
    view, other = await board.promote(wim, 1), await board.promote(wim, 2)
    await board.database.write(deletions.remove, wim, reference=number(1))
    await board.database.write(deletions.restore, wim, reference=number(1))

    seen = await board.see(view)

    assert (seen.state, seen.why) == ("cancelled", f"{FRAUD}#1 is not open: its version was deleted.")
    assert (await board.see(other)).state == "open"
    listed = {"scope": FRAUD, "caller": act().caller, "filter": "state = cancelled"}
    found, _ = await board.database.read(reviews.page, **listed)
    assert [each.promotion.number for each in found] == [1]
    with pytest.raises(errors.PromotionClosed, match="its version was deleted"):
        await board.say(await board.person("user:pia", "approver"), view)
    assert (await board.promote(wim, 1)).promotion.number == 3
    await board.database.read(require_equal)
