"""Promotions: a version goes to a target at once where nothing protects it, and otherwise as policies say."""

from __future__ import annotations

import asyncio

import pytest

from steelyard_server import errors
from steelyard_server.core import (
    aliases,
    copies,
    evaluations,
    manifest,
    models,
    namespaces,
    promotions,
    reviews,
    versions,
)
from steelyard_server.core.content import Content, Dataset, File, Metric
from steelyard_server.core.policy_drafts import Approvals, Check, Draft, Evaluations
from steelyard_server.core.targets import Target
from steelyard_server.core.versions import Version
from steelyard_server.db.database import Database
from tests.contracts.promoting import CHAMPION, PRODUCTION, Board, demanding
from tests.contracts.registry import BLOB, FRAUD, act, by_alias, create, everything, number
from tests.contracts.stored import require_equal

STAGING = Target("stage", "staging")


@pytest.fixture
async def board(registry: Database) -> Board:
    """Add four versions to the registry."""
    for seed in range(4):
        await create(registry, seed)
    return Board(registry)


async def version(board: Board, of: int) -> Version:
    return await board.database.read(versions.get, reference=number(of))


async def stages(board: Board) -> list[str]:
    found = await board.database.read(versions.page, model=FRAUD, order_by="number")
    return [each.stage for each in found.entries]


async def measure(board: Board, of: int, value: float, *, digest: str = BLOB[0]) -> str:
    draft = evaluations.Draft(
        (Metric("precision", "holdout", "", value),), (Dataset("holdout", digest=digest),)
    )
    recorded = await board.database.write(
        evaluations.record, act("service:ci"), reference=number(of), draft=draft
    )
    return recorded.evaluation.uid


async def directed(board: Board) -> None:
    """Say that more precision is better."""
    draft = models.Draft(metric_directions={"precision": "higher-is-better"})
    await board.database.write(models.modify, act(), name=FRAUD, draft=draft, mask=("metric_directions",))


async def test_without_a_policy_a_version_goes_to_a_stage_at_once(board: Board) -> None:
    view = await board.promote(act(reason="it is good"), 1)

    assert (view.state, view.promotion.text, view.reason) == ("applied", "default/fraud#1", "it is good")
    assert (view.promotion.digest, view.promotion.version) == ((await version(board, 1)).digest, 1)
    assert await stages(board) == ["production", "development", "development", "development"]
    await board.database.read(require_equal)


async def test_the_incumbent_of_a_stage_is_archived_when_that_is_asked(board: Board) -> None:
    await board.promote(act(), 1)
    second = await board.promote(act(), 2)
    third = await board.promote(act(), 3, archive_incumbent=True)

    assert [each.promotion.incumbent for each in (second, third)] == [1, 2]
    assert await stages(board) == ["production", "archived", "production", "development"]
    await board.database.read(require_equal)


async def test_a_promotion_to_an_alias_sets_it_with_its_record(board: Board) -> None:
    await board.database.write(aliases.put, act(), reference=number(1), name="champion")
    view = await board.promote(act(), 2, CHAMPION)

    assert (view.state, view.promotion.incumbent) == ("applied", 1)
    assert (await board.database.read(versions.get, reference=by_alias("champion"))).number == 2
    moves, _ = await board.database.read(aliases.moves, model=FRAUD, name="champion")
    assert [(each.action, each.to_number) for each in moves] == [("set", 2), ("set", 1)]
    await board.database.write(aliases.rollback, act(), model=FRAUD, name="champion")
    assert (await board.database.read(versions.get, reference=by_alias("champion"))).number == 1
    await board.database.read(require_equal)


async def test_what_cannot_be_proposed_changes_nothing(board: Board) -> None:
    await board.promote(act(), 1)
    before = await board.database.read(everything)

    with pytest.raises(errors.AlreadyAtTarget):
        await board.promote(act(), 1)
    with pytest.raises(errors.StageUnknown) as unknown:
        await board.promote(act(), 2, Target("stage", "canary"))
    with pytest.raises(errors.ReservedName):
        await board.promote(act(), 2, Target("alias", "latest"))
    with pytest.raises(errors.OneofRequired):
        await board.promote(act(), 2, Target("policy", "careful"))
    with pytest.raises(errors.ResourceMismatch):
        await board.promote(act(), 2, CHAMPION, archive_incumbent=True)
    with pytest.raises(errors.VersionNotFound):
        await board.promote(act(), 9)

    assert unknown.value.metadata["stages"] == "development staging production archived"
    assert await board.database.read(everything) == before


async def test_a_namespace_has_stages_of_its_own(board: Board) -> None:
    draft = namespaces.Draft(stages=("development", "canary", "live"))
    await board.database.write(namespaces.modify, act(), name="default", draft=draft, mask=("stages",))

    assert (await board.promote(act(), 1, Target("stage", "canary"))).state == "applied"
    with pytest.raises(errors.StageUnknown):
        await board.promote(act(), 1)
    for wrong in (("development", "x", "x"), ("development", "Not allowed"), ("canary",)):
        refused = namespaces.Draft(stages=wrong)
        with pytest.raises(errors.InvalidArgument):
            await board.database.write(namespaces.create, act(), name="x", draft=refused)
    await board.database.read(require_equal)


async def test_promotions_are_listed_the_newest_first_and_found(board: Board) -> None:
    for of, target in ((1, STAGING), (2, STAGING), (1, PRODUCTION)):
        await board.promote(act(), of, target)
    read = board.database.read
    first, after = await read(reviews.page, caller=act().caller, scope=FRAUD, page_size=2)
    rest, end = await read(reviews.page, caller=act().caller, scope=FRAUD, page_size=2, after=after)

    assert [each.promotion.number for each in (*first, *rest)] == [3, 2, 1]
    assert end is None
    assert (await read(reviews.page, caller=act().caller, scope="default"))[0] == []
    with pytest.raises(errors.PromotionNotFound):
        await read(promotions.find, scope=FRAUD, number=4)


async def test_a_worse_version_is_refused_with_the_numbers_and_a_better_one_goes_through(
    board: Board,
) -> None:
    await directed(board)
    uids = {of: await measure(board, of, value) for of, value in ((1, 0.93), (2, 0.91), (3, 0.94))}
    check = Check("no-worse", 'better("precision@holdout", 0.0)', passes_without_incumbent=True)
    await board.set_policy(Draft(PRODUCTION, checks=(check,)))

    first, worse = await board.promote(act(), 1), await board.promote(act(), 2)
    better = await board.promote(act(), 3)

    assert [each.state for each in (first, worse, better)] == ["applied", "refused", "applied"]
    (found,) = worse.promotion.checks
    assert (found.policy, found.name, found.state, found.reason) == ("careful", "no-worse", "failed", "FALSE")
    assert "candidate 0.91, incumbent 0.93" in found.message
    assert worse.promotion.evaluations == (uids[2],)
    assert [(each.name, each.revision) for each in worse.promotion.policies] == [("careful", "1")]
    assert await stages(board) == ["production", "development", "production", "development"]
    await board.database.read(require_equal)


async def test_measures_on_other_data_and_without_a_measure_do_not_pass(board: Board) -> None:
    await directed(board)
    await measure(board, 1, 0.93)
    await measure(board, 2, 0.99, digest="sha256:" + 64 * "0")
    await board.promote(act(), 1)
    await board.set_policy(Draft(PRODUCTION, checks=(Check("no-worse", 'better("precision@holdout", 0.0)'),)))

    reasons = [(await board.promote(act(), of)).promotion.checks[0].reason for of in (2, 3)]

    assert reasons == ["DATASET_MISMATCH", "ABSENT"]


async def test_only_evaluations_of_others_count_where_a_policy_says_so(board: Board) -> None:
    check = Check("measured", 'candidate.has_metric("precision@holdout")')
    await board.set_policy(Draft(PRODUCTION, checks=(check,), evaluations=Evaluations(independent=True)))
    own = evaluations.Draft((Metric("precision", "holdout", "", 0.9),))
    await board.database.write(evaluations.record, act("ada"), reference=number(1), draft=own)
    assert (await board.promote(act(), 1)).state == "refused"

    await measure(board, 1, 0.9)
    assert (await board.promote(act(), 1)).state == "applied"


async def test_training_metrics_do_not_count_where_a_policy_says_of_evaluations_which(board: Board) -> None:
    check = Check("measured", 'candidate.has_metric("precision@holdout")')
    await board.set_policy(Draft(PRODUCTION, checks=(check,), evaluations=Evaluations(age_seconds=3600)))
    trained = Content(files=(File("model.onnx", *BLOB),), metrics=(Metric("precision", "holdout", "", 0.9),))
    made = await board.database.write(
        versions.create, act(), model=FRAUD, built=manifest.build(trained), draft=versions.Draft()
    )

    assert (await board.promote(act(), made.version.number)).state == "refused"
    await board.set_policy(Draft(PRODUCTION, checks=(check,)))
    assert (await board.promote(act(), made.version.number)).state == "applied"


async def test_who_made_the_content_in_another_model_is_no_other_evaluator(board: Board) -> None:
    check = Check("measured", 'candidate.has_metric("precision@holdout")')
    await board.database.write(models.create, act(), name="default/copy", draft=models.Draft())
    await board.database.write(copies.copy, act("bob"), source=number(1), model="default/copy")
    await board.set_policy(Draft(PRODUCTION, checks=(check,), evaluations=Evaluations(independent=True)))
    copy = number(1, model="default/copy")
    draft = evaluations.Draft((Metric("precision", "holdout", "", 0.9),))

    async def promoted(who: str) -> str:
        wanted = {"reference": copy, "target": PRODUCTION}
        return (await board.propose(act(who), wanted)).state

    for creator in ("ada", "bob"):
        await board.database.write(evaluations.record, act(creator), reference=copy, draft=draft)
        assert await promoted("ada") == "refused"
    await board.database.write(evaluations.record, act("service:ci"), reference=copy, draft=draft)
    assert await promoted("service:deploy") == "applied"


async def test_old_evaluations_do_not_count_where_a_policy_says_so(board: Board) -> None:
    check = Check("measured", 'candidate.has_metric("precision")')
    await board.set_policy(Draft(PRODUCTION, checks=(check,), evaluations=Evaluations(age_seconds=3600)))
    old = evaluations.Draft((Metric("precision", "", "", 0.9),), evaluate_time=1)
    await board.database.write(evaluations.record, act(), reference=number(1), draft=old)
    assert (await board.promote(act(), 1)).state == "refused"

    new = evaluations.Draft((Metric("precision", "", "", 0.9),))
    await board.database.write(evaluations.record, act(), reference=number(1), draft=new)
    assert (await board.promote(act(), 1)).state == "applied"


async def test_one_promotion_is_open_at_a_time_until_it_is_cancelled(board: Board) -> None:
    writer = await board.person("user:wim", "writer")
    await board.set_policy(demanding())
    view = await board.promote(writer, 1)
    with pytest.raises(errors.PromotionOpen) as refused:
        await board.promote(writer, 1)
    assert refused.value.metadata == {"scope": FRAUD, "number": "1"}

    gone = await board.database.write(reviews.cancel, writer, scope=FRAUD, number=1)
    assert (gone.state, gone.actions) == ("cancelled", [])
    assert (await board.promote(writer, 1)).promotion.number == 2
    for verdict in ("approve", "comment", "reject"):
        with pytest.raises(errors.PromotionClosed) as closed:
            await board.say(await board.person("user:ann", "approver"), view, verdict)
        assert closed.value.metadata["state"] == "cancelled"
    await board.database.read(require_equal)


async def test_checks_from_outside_are_waited_for_and_one_that_failed_ends_it(board: Board) -> None:
    await board.set_policy(Draft(PRODUCTION, outside_checks=("bias", "load")))
    robot = await board.person("service:ci", "evaluator")
    good, bad = await board.promote(act(), 1), await board.promote(act(), 2)
    assert (good.state, [each.state for each in good.promotion.checks]) == ("open", ["waiting", "waiting"])

    assert (await board.report(robot, good, "bias")).state == "open"
    with pytest.raises(errors.CheckReported):
        await board.report(robot, good, "bias")
    with pytest.raises(errors.CheckNotFound) as unknown:
        await board.report(robot, good, "other")
    assert unknown.value.metadata["checks"] == "bias load"
    assert (await board.report(robot, good, "load")).state == "applied"
    assert (await board.report(robot, bad, "load", passed=False)).state == "refused"
    assert await stages(board) == ["production", "development", "development", "development"]
    await board.database.read(require_equal)


async def test_when_the_incumbent_moved_the_checks_run_again_before_it_applies(board: Board) -> None:
    await directed(board)
    for of, value in ((1, 0.90), (2, 0.95), (3, 0.93)):
        await measure(board, of, value)
    await board.promote(act(), 1)
    better = Check("better", 'better("precision@holdout", 0.0)')
    await board.set_policy(Draft(PRODUCTION, checks=(better,), approvals=Approvals(1)))
    writer, approver = await board.person("user:wim", "writer"), await board.person("user:ann", "approver")

    second, third = await board.promote(writer, 2), await board.promote(writer, 3)
    assert [each.promotion.checks[0].state for each in (second, third)] == ["passed", "passed"]
    assert (await board.say(approver, second)).state == "applied"
    late = await board.say(approver, third)

    assert (late.state, late.promotion.incumbent, late.promotion.checks[0].reason) == ("refused", 2, "FALSE")
    assert await stages(board) == ["production", "production", "development", "development"]
    await board.database.read(require_equal)


async def test_a_measure_that_came_later_is_no_evidence(board: Board) -> None:
    await directed(board)
    await board.promote(act(), 1)
    uid = await measure(board, 3, 0.93)
    better = Check("high", 'candidate.metric("precision@holdout") > 0.9')
    await board.set_policy(Draft(PRODUCTION, checks=(better,), approvals=Approvals(1)))
    writer, approver = await board.person("user:wim", "writer"), await board.person("user:ann", "approver")
    view = await board.promote(writer, 3)
    await measure(board, 3, 0.1)
    await board.set_policy(None)
    await board.promote(act(), 2)
    await board.set_policy(Draft(PRODUCTION, checks=(better,), approvals=Approvals(1)))
    again = await board.promote(writer, 3)

    assert (view.promotion.evaluations, again.state) == ((uid,), "refused")
    with pytest.raises(errors.PromotionClosed):
        await board.say(approver, view)


async def test_of_many_approvals_at_once_each_person_counts_once_and_it_applies_once(board: Board) -> None:
    await board.set_policy(demanding(count=3))
    view = await board.promote(await board.person("user:wim", "writer"), 1)
    people = [await board.person(f"user:ann{index}", "approver") for index in range(5)]
    said = await asyncio.gather(
        *(board.say(each, view) for each in (*people, *people)), return_exceptions=True
    )

    done = [each for each in said if not isinstance(each, BaseException)]
    assert sorted(each.state for each in done) == ["applied", "open", "open"]
    assert all(
        isinstance(each, errors.PromotionClosed | errors.ReviewGiven) for each in said if each not in done
    )
    await board.database.read(require_equal)
