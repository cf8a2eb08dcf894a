"""Policies: a second person sets them, they protect what they name, and nobody decides of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from steelyard_server import errors
from steelyard_server.core import (
    aliases,
    copies,
    deletions,
    evaluations,
    governance,
    grants,
    models,
    policy_drafts,
    promotions,
    reviews,
    versions,
)
from steelyard_server.core.content import Metric
from steelyard_server.core.policy_drafts import Approvals, Check, Draft
from steelyard_server.core.reviews import View
from steelyard_server.core.targets import Target
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction
from steelyard_server.history import canonical
from steelyard_server.history.act import Act
from tests.contracts.promoting import CHAMPION, PRODUCTION, SMALL, Board, demanding
from tests.contracts.registry import FRAUD, act, build, create, everything, number
from tests.contracts.stored import require_equal

PROTECTED = Draft(CHAMPION, checks=(SMALL,))
POLICY: dict[str, Any] = {"namespace": "default", "name": "careful"}


@pytest.fixture
async def board(registry: Database) -> Board:
    """Add three versions to the registry."""
    for seed in range(3):
        await create(registry, seed)
    return Board(registry)


async def set_policy(board: Board, who: Act, draft: Draft | None, **options: Any) -> View:
    return await board.database.write(reviews.propose_policy, who, **POLICY, draft=draft, **options)


async def names(board: Board) -> list[tuple[str, int]]:
    found = await board.database.read(governance.page, namespace="default")
    return [(each.name, each.revision) for each in found]


async def open_one(board: Board, *, author: str = "user:wim", **rule: Any) -> View:
    """Propose a version where the policy wants an approval."""
    await board.set_policy(demanding(**rule))
    return await board.promote(await board.person(author, "writer"), 1)


async def test_where_nobody_logs_in_a_policy_is_set_and_removed_at_once(board: Board) -> None:
    view = await set_policy(board, act(), PROTECTED)
    assert (view.state, view.promotion.text) == ("applied", "default#1")
    found = await board.database.read(governance.get, **POLICY)
    assert (found.draft, found.revision, found.creator["id"]) == (PROTECTED, 1, "ada")

    with pytest.raises(errors.AlreadyAtTarget):
        await set_policy(board, act(), PROTECTED)
    with pytest.raises(errors.EtagMismatch):
        await set_policy(board, act(), None, etag="1")
    assert (await set_policy(board, act(), None, etag=str(found.sequence))).state == "applied"
    with pytest.raises(errors.PolicyNotFound):
        await set_policy(board, act(), None)
    with pytest.raises(errors.PolicyNotFound):
        await board.database.read(governance.get, **POLICY)
    await board.database.read(require_equal)


async def test_approvals_are_not_demanded_where_nobody_logs_in(board: Board) -> None:
    with pytest.raises(errors.AuthenticationRequired):
        await set_policy(board, act(), demanding())


async def test_with_logins_a_policy_and_its_end_need_a_second_person(board: Board) -> None:
    boss, other = (
        await board.person("user:boss", "admin", "approver"),
        await board.person("user:two", "approver"),
    )
    view = await set_policy(board, boss, PROTECTED)

    assert (view.state, await names(board)) == ("open", [])
    with pytest.raises(errors.ReviewerNotIndependent) as refused:
        await board.say(boss, view)
    assert refused.value.metadata == {"because": "author"}
    assert (await board.say(other, view)).state == "applied"
    assert await names(board) == [("careful", 1)]

    end = await set_policy(board, boss, None)
    with pytest.raises(errors.PromotionOpen):
        await set_policy(board, boss, replace(PROTECTED, description="new"))
    assert (end.state, await names(board)) == ("open", [("careful", 1)])
    assert (await board.say(other, end)).state == "applied"
    assert await names(board) == []
    await board.database.read(require_equal)


@pytest.mark.parametrize(
    ("draft", "error", "field"),
    [
        (
            Draft(PRODUCTION, checks=(Check("a", "candidate.number"),)),
            errors.PolicyInvalid,
            "checks[0].expression",
        ),
        (Draft(PRODUCTION, checks=(SMALL, SMALL)), errors.InvalidArgument, "checks"),
        (Draft(PRODUCTION, checks=(SMALL,), outside_checks=("small",)), errors.InvalidArgument, "checks"),
        (Draft(PRODUCTION, models=("risk/fraud",)), errors.InvalidName, "models[0]"),
        (Draft(PRODUCTION, models=("",)), errors.FieldRequired, "models[0]"),
        (Draft(Target("stage", "canary")), errors.StageUnknown, "target.stage"),
        (Draft(Target("stage", "development")), errors.StageUnknown, "target.stage"),
        (Draft(Target("alias", "latest")), errors.ReservedName, "target.alias"),
        (Draft(Target("environment", "")), errors.FieldRequired, "target.environment"),
        (Draft(Target("environment", "Production-*")), errors.InvalidName, "target.environment"),
        (Draft(Target("environment", "latest")), errors.ReservedName, "target.environment"),
        (Draft(Target("policy", "careful")), errors.OneofRequired, "target"),
        (Draft(PRODUCTION, approvals=Approvals(0)), errors.OutOfBounds, "approvals.count"),
        (Draft(PRODUCTION, approvals=Approvals(1, ("admin",))), errors.EnumInvalid, "approvals.roles[0]"),
        (Draft(PRODUCTION, approvals=Approvals(1, (), ("risk",))), errors.InvalidName, "approvals.groups[0]"),
    ],
)
async def test_a_policy_that_is_wrong_is_refused_with_its_field(
    board: Board, draft: Draft, error: type[errors.RegistryError], field: str
) -> None:
    before = await board.database.read(everything)
    with pytest.raises(error) as refused:
        await set_policy(board, act(), draft)
    assert refused.value.field.startswith(f"policy.{field}")
    assert await board.database.read(everything) == before


async def test_what_a_policy_protects_moves_by_no_other_way(board: Board) -> None:
    write = board.database.write
    for of in (1, 2):
        await write(aliases.put, act(), reference=number(of), name="champion")
    await set_policy(board, act(), PROTECTED)
    before = await board.database.read(everything)

    for use_case, wanted in (
        (aliases.put, {"reference": number(3), "name": "champion"}),
        (aliases.rollback, {"model": FRAUD, "name": "champion"}),
        (aliases.remove, {"model": FRAUD, "name": "champion"}),
    ):
        with pytest.raises(errors.PolicyRequiresPromotion) as refused:
            await write(use_case, act(), **wanted)
        assert refused.value.metadata == {
            "policies": "default/careful",
            "model": FRAUD,
            "target": "alias champion",
        }
        assert "create a promotion" in refused.value.message
    assert await board.database.read(everything) == before

    await write(aliases.put, act(), reference=number(3), name="other")
    assert (await board.promote(act(), 3, CHAMPION)).state == "applied"
    await board.database.read(require_equal)


async def test_the_stage_archived_may_be_protected_too(board: Board) -> None:
    await board.promote(act(), 1)
    await set_policy(board, act(), Draft(Target("stage", "archived"), checks=(SMALL,)))

    with pytest.raises(errors.PolicyRequiresPromotion):
        await board.promote(act(), 2, archive_incumbent=True)
    assert (await board.promote(act(), 2)).state == "applied"


async def test_a_rename_does_not_lead_out_of_a_policy(board: Board) -> None:
    await set_policy(board, act(), replace(PROTECTED, models=("FRA*",)))
    await board.database.write(models.rename, act(), name=FRAUD, new_name="default/other")

    with pytest.raises(errors.PolicyRequiresPromotion):
        await board.database.write(aliases.put, act(), reference=number(1), name="champion")
    await board.database.write(models.create, act(), name="default/free", draft=models.Draft())
    await create(board.database, 1, model="default/free")
    free = number(1, model="default/free")
    await board.database.write(aliases.put, act(), reference=free, name="champion")


@pytest.mark.parametrize(
    ("pattern", "name", "matching"),
    [
        ("fraud", "fraud", True),
        ("fraud", "fraud-2", False),
        ("Fraud*", "fraud-2", True),
        ("*", "anything", True),
        ("*-eu", "fraud-eu", True),
        ("a*a", "a", False),
        ("a*b*c", "a-b-c", True),
        ("a*b*c", "acb", False),
        ("a**c", "ac", True),
        ("fr.ud", "fraud", False),
    ],
)
def test_a_star_stands_for_any_characters(pattern: str, name: str, *, matching: bool) -> None:
    assert policy_drafts.matches(pattern, name) is matching


async def test_nobody_approves_what_they_proposed_also_with_another_token_or_by_a_group(board: Board) -> None:
    view = await open_one(board, groups=("group:risk",))
    await board.group("risk", "user:wim", "user:ann")
    await board.database.write(grants.grant, act(), subject="group:risk", role="approver", scope="default")

    with pytest.raises(errors.ReviewerNotIndependent) as refused:
        await board.say(await board.login("user:wim"), view)
    assert refused.value.metadata == {"because": "author"}
    assert (await board.say(await board.login("user:ann"), view)).state == "applied"


async def test_nobody_approves_what_they_made_or_measured(board: Board) -> None:
    ann, eve = await board.person("user:ann", "approver"), await board.person("user:eve", "approver")
    view = await open_one(board)
    # The same content, elsewhere.
    await board.database.write(models.create, act(), name="default/copy", draft=models.Draft())
    made = {"model": "default/copy", "built": build(0), "draft": versions.Draft()}
    await board.database.write(versions.create, ann, **made)
    draft = evaluations.Draft((Metric("f1", "", "", 0.5),))
    await board.database.write(
        evaluations.record, eve, reference=number(1, model="default/copy"), draft=draft
    )

    for who, because in ((ann, "creator"), (eve, "evaluator")):
        with pytest.raises(errors.ReviewerNotIndependent) as refused:
            await board.say(who, view)
        assert refused.value.metadata == {"because": because}
        assert "approve" not in (await board.see(view, caller=who.caller)).actions


async def test_an_approval_of_who_measures_it_afterwards_does_not_count_any_more(board: Board) -> None:
    view = await open_one(board, count=2)
    ann, eve = await board.person("user:ann", "approver"), await board.person("user:eve", "approver")
    await board.say(ann, view)
    draft = evaluations.Draft((Metric("f1", "", "", 0.5),))
    await board.database.write(evaluations.record, ann, reference=number(1), draft=draft)

    assert (await board.say(eve, view)).state == "open"
    assert [given for _, given in (await board.see(view)).approvals] == [1]


async def test_no_service_and_no_stated_name_approves_or_rejects(board: Board) -> None:
    view = await open_one(board)
    robot = await board.person("service:robot", "approver")

    for who in (robot, act("user:ann")):
        for verdict in ("approve", "reject"):
            with pytest.raises(errors.ReviewerNotPerson):
                await board.say(who, view, verdict)
    assert (await board.see(view, caller=robot.caller)).actions == ["comment"]


async def test_a_person_counts_once_whatever_token_they_use(board: Board) -> None:
    view = await open_one(board, count=2)
    assert (await board.say(await board.person("user:ann", "approver"), view)).state == "open"

    with pytest.raises(errors.ReviewGiven):
        await board.say(await board.login("user:ann"), view)
    assert (await board.say(await board.person("user:eve", "approver"), view)).state == "applied"


async def test_only_who_is_asked_approves(board: Board) -> None:
    view = await open_one(board, groups=("group:risk",))
    ann = await board.person("user:ann", "approver")

    with pytest.raises(errors.ReviewerNotAsked) as refused:
        await board.say(ann, view)
    assert refused.value.metadata == {"roles": "", "groups": "group:risk"}
    await board.group("risk", "user:ann")
    assert (await board.say(await board.again(ann), view)).state == "applied"


async def test_a_policy_that_names_nobody_asks_who_may_review(board: Board) -> None:
    view = await open_one(board)

    with pytest.raises(errors.ReviewerNotAsked):
        await board.say(await board.person("user:eve", "writer"), view)
    assert (await board.say(await board.person("user:ann", "approver"), view)).state == "applied"


async def test_approvals_are_wanted_also_of_who_proposes_without_a_login(board: Board) -> None:
    """As where a server with policies is started again without logins."""
    await board.set_policy(demanding())

    view = await board.promote(act(), 1)

    assert (view.state, [given for _, given in view.approvals]) == ("open", [0])
    assert (await board.say(await board.person("user:ann", "approver"), view)).state == "applied"


async def test_a_policy_for_all_models_holds_beside_one_that_names_some(board: Board) -> None:
    await board.set_policy(Draft(PRODUCTION, models=("other",), checks=(SMALL,)), name="another")
    await board.set_policy(demanding())

    view = await board.promote(await board.person("user:wim", "writer"), 1)

    assert view.state == "open"
    assert [each.name for each in view.promotion.policies] == ["careful"]


async def test_a_role_that_is_asked_must_hold_on_the_model(board: Board) -> None:
    view = await open_one(board, roles=("approver",))
    await board.database.write(
        grants.grant, act(), subject="user:ann", role="approver", scope="default/other"
    )

    with pytest.raises(errors.ReviewerNotAsked):
        await board.say(await board.login("user:ann"), view)
    assert (await board.say(await board.person("user:eve", "approver", scope=FRAUD), view)).state == "applied"


async def test_an_approval_is_withdrawn_by_who_gave_it(board: Board) -> None:
    view = await open_one(board, count=2)
    ann, eve = await board.person("user:ann", "approver"), await board.person("user:eve", "approver")
    assert "withdraw" in (await board.say(ann, view)).actions
    with pytest.raises(errors.ReviewNotGiven):
        await board.say(eve, view, "withdraw")

    assert (await board.say(ann, view, "withdraw")).approvals[0][1] == 0
    assert (await board.say(eve, view)).state == "open"
    assert (await board.say(ann, view)).state == "applied"
    await board.database.read(require_equal)


async def test_a_rejection_ends_it_with_its_reason(board: Board) -> None:
    view = await open_one(board)
    ann = replace(await board.person("user:ann", "approver"), reason="not for us")

    ended = await board.say(ann, view, "reject")

    assert (ended.state, ended.comments, ended.actions) == ("refused", ["not for us"], [])
    with pytest.raises(errors.PromotionClosed):
        await board.say(await board.person("user:eve", "approver"), view)


async def test_a_comment_has_words_and_counts_for_nothing(board: Board) -> None:
    view = await open_one(board)
    ann = await board.person("user:ann", "approver")
    with pytest.raises(errors.FieldRequired):
        await board.say(ann, view, "comment")

    said = await board.say(replace(ann, reason="why so?"), view, "comment")
    assert (said.state, said.comments, said.approvals[0][1]) == ("open", ["why so?"], 0)
    assert "withdraw" not in said.actions
    with pytest.raises(errors.ReviewNotGiven):
        await board.say(ann, view, "withdraw")


@pytest.mark.parametrize("change", ["changed", "removed", "another one"])
async def test_a_promotion_whose_policies_changed_is_superseded(board: Board, change: str) -> None:
    view = await open_one(board)
    changed = {"changed": demanding(count=2), "removed": None, "another one": demanding()}[change]
    await board.set_policy(changed, name="another" if change == "another one" else "careful")

    assert (await board.see(view)).state == "superseded"
    with pytest.raises(errors.PromotionClosed) as refused:
        await board.say(await board.person("user:ann", "approver"), view)
    assert refused.value.metadata["state"] == "superseded"
    assert (await board.promote(await board.login("user:wim"), 1)).promotion.number == 2
    await board.database.read(require_equal)


async def test_approvals_of_all_policies_are_wanted(board: Board) -> None:
    await board.group("risk", "user:ann")
    await board.set_policy(demanding(groups=("group:risk",)), name="risk")
    await board.set_policy(demanding(), name="usual")
    view = await board.promote(await board.person("user:wim", "writer"), 1)

    said = await board.say(await board.person("user:eve", "approver"), view)
    assert (said.state, [given for _, given in said.approvals]) == ("open", [0, 1])
    assert (await board.say(await board.person("user:ann", "approver"), view)).state == "applied"


async def test_a_promotion_and_an_approval_end_with_their_time(board: Board) -> None:
    view = await open_one(board, count=2, lifetime_seconds=60)
    ann, eve = await board.person("user:ann", "approver"), await board.person("user:eve", "approver")
    said = await board.say(ann, view)
    old = replace(said.promotion.reviews[0], create_time="2001-01-01T00:00:00.000000Z")

    def age(tx: Transaction) -> None:
        content = canonical.text(promotions.content_of(replace(said.promotion, reviews=(old,))))
        tx.run(update(tables.promotions).values(content=content), {})

    await board.database.write(age)
    assert (await board.say(eve, view)).state == "open"
    assert "approve" in (await board.see(view, caller=ann.caller)).actions
    with pytest.raises(errors.ReviewGiven):
        await board.say(eve, view)
    await board.database.write(lambda tx: tx.run(update(tables.promotions).values(expire_time=1), {}))
    assert (await board.see(view)).state == "expired"
    with pytest.raises(errors.PromotionClosed) as refused:
        await board.say(await board.person("user:kim", "approver"), view)
    assert refused.value.metadata["state"] == "expired"


async def test_a_version_that_is_deleted_meanwhile_is_not_promoted(board: Board) -> None:
    view = await open_one(board)
    await board.database.write(deletions.remove, act(), reference=number(1))

    with pytest.raises(errors.PromotionClosed):
        await board.say(await board.person("user:ann", "approver"), view)
    assert (await board.see(view)).state == "cancelled"


async def test_a_version_in_a_protected_stage_is_not_deleted(board: Board) -> None:
    await board.promote(act(), 1)
    await set_policy(board, act(), Draft(PRODUCTION, checks=(SMALL,)))
    with pytest.raises(errors.PolicyRequiresPromotion):
        await board.database.write(deletions.remove, act(), reference=number(1))

    await board.promote(act(), 1, Target("stage", "archived"))
    await board.database.write(deletions.remove, act(), reference=number(1))
    await board.database.read(require_equal)


async def test_a_copy_and_an_undelete_bring_nothing_past_a_policy(board: Board) -> None:
    await board.promote(act(), 1)
    await board.database.write(deletions.remove, act(), reference=number(1))
    await set_policy(board, act(), Draft(PRODUCTION, checks=(SMALL,)))
    await board.database.write(deletions.restore, act(), reference=number(1))
    await board.promote(act(), 2)
    await board.database.write(models.create, act(), name="default/copy", draft=models.Draft())
    # One of a version that is at the target, and has been let there.
    await board.database.write(copies.copy, act(), source=number(2), model="default/copy")

    for model in (FRAUD, "default/copy"):
        found = await board.database.read(versions.get, reference=number(1, model=model))
        assert found.stage == "development"
    assert (await board.promote(act(), 1)).state == "applied"
    await board.database.read(require_equal)


async def test_actions_are_those_of_the_caller(board: Board) -> None:
    view = await open_one(board)
    ann, viewer = await board.person("user:ann", "approver"), await board.person("user:vic", "viewer")

    assert view.actions == ["cancel"]
    assert (await board.see(view, caller=ann.caller)).actions == ["approve", "reject", "comment"]
    assert (await board.see(view, caller=viewer.caller)).actions == []


async def test_lists_have_what_the_caller_may_read(board: Board) -> None:
    await open_one(board)
    read = board.database.read
    inside = await board.person("user:in", "viewer", scope=FRAUD)
    outside = await board.person("user:out", "viewer", scope="default/other")

    found, _ = await read(reviews.page, caller=inside.caller, scope="default/-")
    assert [each.promotion.text for each in found] == ["default/fraud#1"]
    assert await read(reviews.page, caller=outside.caller, scope="default/-") == ([], None)
    for who, scope in ((outside, FRAUD), (inside, "default")):
        with pytest.raises(errors.PermissionMissing):
            await read(reviews.page, caller=who.caller, scope=scope)
