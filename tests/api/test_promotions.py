"""Promotions over a real channel: a policy, a worse version, a better one, and two persons."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from steelyard.v1 import promotion_pb2 as pb
from tests.api.calls import Refused, call
from tests.api.logins import People
from tests.api.test_second_tenant import content, upload
from tests.api.uploads import digest_of
from tests.servers import running_server

MODEL = "risk/fraud"
JSON = b'{"weights": [1, 2]}'
PICKLE = b"\x80\x04N."
PRODUCTION = {"stage": "production"}
OPEN, APPLIED, REFUSED = (
    pb.PROMOTION_STATE_OPEN,
    pb.PROMOTION_STATE_APPLIED,
    pb.PROMOTION_STATE_REFUSED,
)
POLICY = {
    "namespace": "risk",
    "name": "careful",
    "models": ["fraud*"],
    "target": PRODUCTION,
    "checks": [
        {
            "name": "no-worse",
            "expression": 'better("precision@holdout", 0.0)',
            "passes_without_incumbent": True,
        },
        {"name": "formats", "expression": 'file_formats().all(f, f in ["json", "text"])'},
    ],
    "approvals": {"count": 1, "roles": ["ROLE_APPROVER"]},
}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[People]:
    """Let people log in: a policy protects production, and three versions are measured."""
    data = tmp_path_factory.mktemp("promotions") / "data"
    async with running_server(data, auth="tokens") as running:
        found = People(running)
        await found.ask("admin", "CreateNamespace", {"name": "risk"})
        for name, roles in (
            ("max", {"admin": "risk"}),
            ("wim", {"writer": "risk"}),
            ("eve", {"evaluator": "risk"}),
            ("ann", {"approver": "risk"}),
            ("tom", {"approver": "risk"}),
            ("vic", {"viewer": "risk"}),
            ("mia", {"approver": MODEL}),
        ):
            await found.add(name, **roles)
        directions = {"precision": "METRIC_DIRECTION_HIGHER_IS_BETTER"}
        await found.ask("wim", "CreateModel", {"name": MODEL, "metricDirections": directions})
        for place, value in enumerate((0.93, 0.91, 0.94)):
            await add_version(found, f"{place}", JSON, value=value)
        yield found


async def add_version(people: People, name: str, data: bytes, *, value: float) -> int:
    """Push a version of one file, and measure it."""
    await upload(people, "wim", "risk", data)
    fields = content(MODEL, parameter=name)
    fields["content"]["files"] = [{"path": "w.bin", "digest": digest_of(data), "sizeBytes": str(len(data))}]
    made = await people.ask("wim", "CreateVersion", fields)
    evaluation = {
        "metrics": [{"name": "precision", "dataset": "holdout", "value": value}],
        "datasets": [{"name": "holdout", "digest": digest_of(b"holdout")}],
    }
    reference = {"model": MODEL, "number": made.version.number}
    await people.ask("eve", "RecordEvaluation", {"version": reference, "evaluation": evaluation})
    number: int = made.version.number
    return number


async def promote(people: People, number: int, who: str = "wim", **fields: Any) -> Any:
    return (await people.ask(who, "CreatePromotion", proposal(number) | fields)).promotion


async def review(people: People, who: str, promotion: Any, verdict: str = "APPROVE", **fields: Any) -> Any:
    wanted = {"scope": promotion.scope, "number": promotion.number, "verdict": f"VERDICT_{verdict}"}
    return (await people.ask(who, "ReviewPromotion", wanted | fields)).promotion


async def refused(people: People, who: str, rpc: str, fields: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(Refused) as error:
        await people.ask(who, rpc, fields)
    return error.value.code, error.value.reason


async def test_a_bank_lets_a_better_version_through_and_stops_a_worse_one(people: People) -> None:
    proposed = (await people.ask("max", "SetPolicy", {"policy": POLICY, "reason": "as agreed"})).promotion
    assert (proposed.scope, proposed.number, proposed.state) == ("risk", 1, OPEN)
    assert proposed.policy.checks[0].name == "no-worse"
    assert (await people.ask("ann", "ListPolicies", {"namespace": "risk"})).policies == []
    assert await refused(people, "mia", "ReviewPromotion", named(proposed, verdict="VERDICT_APPROVE")) == (
        "PERMISSION_DENIED",
        "PERMISSION_MISSING",
    )
    assert (await review(people, "ann", proposed)).state == APPLIED
    policy = (await people.ask("vic", "GetPolicy", {"namespace": "risk", "name": "careful"})).policy
    assert (policy.revision, policy.creator.id, list(policy.models)) == (1, "user:max", ["fraud*"])

    first = await promote(people, 1)
    assert (first.state, [(each.wanted, each.given) for each in first.approvals]) == (OPEN, [(1, 0)])
    assert [each.reason for each in first.checks] == ["PASSED_WITHOUT_INCUMBENT", "PASSED"]
    assert (await review(people, "ann", first, reason="good work")).state == APPLIED

    worse = await promote(people, 2)
    assert (worse.state, worse.incumbent) == (REFUSED, 1)
    assert "candidate 0.91, incumbent 0.93" in worse.checks[0].message

    better = await promote(people, 3, archiveIncumbent=True)
    assert list(better.available_actions) == [pb.PROMOTION_ACTION_CANCEL]
    applied = await review(people, "mia", better)
    assert (applied.state, applied.reviews[0].reviewer.id) == (APPLIED, "user:mia")
    found = await people.ask("vic", "ListVersions", {"model": MODEL, "orderBy": "number"})
    assert [each.stage for each in found.versions] == ["archived", "development", "production"]
    listed = await people.ask("vic", "ListPromotions", {"scope": "risk/-", "pageSize": 3})
    assert [(each.scope, each.number) for each in listed.promotions] == [(MODEL, 3), (MODEL, 2), (MODEL, 1)]
    after = {"scope": "risk/-", "pageSize": 3, "pageToken": listed.next_page_token}
    assert [each.scope for each in (await people.ask("vic", "ListPromotions", after)).promotions] == ["risk"]
    seen = (await people.ask("vic", "GetPromotion", {"scope": MODEL, "number": 1})).promotion
    assert [each.comment for each in seen.reviews] == ["good work"]


async def test_a_pickle_is_recognised_by_its_bytes_and_stopped(people: People) -> None:
    number = await add_version(people, "pickle", PICKLE, value=0.99)

    promotion = await promote(people, number)

    assert promotion.state == REFUSED
    assert (promotion.checks[0].state, promotion.checks[1].reason) == (pb.CHECK_STATE_PASSED, "FALSE")
    assert "pickle" in promotion.checks[1].message


async def test_a_rehearsal_says_what_would_happen_and_changes_nothing(people: People) -> None:
    head = (await people.ask("admin", "ListPromotions", {"scope": MODEL})).sequence

    told = await promote(people, 2, validateOnly=True)

    assert told.state == REFUSED
    assert told.checks[0].message
    assert (await people.ask("admin", "ListPromotions", {"scope": MODEL})).sequence == head


async def test_a_promotion_happens_once_for_its_request_id(people: People) -> None:
    number = await add_version(people, "once", JSON, value=0.97)
    wanted = {"requestId": str(uuid.uuid4())}
    first, again = await promote(people, number, **wanted), await promote(people, number, **wanted)
    assert first == again

    approval = {"requestId": str(uuid.uuid4())}
    approved = await review(people, "ann", first, **approval)
    assert await review(people, "ann", first, **approval) == approved
    assert len(approved.reviews) == 1


async def test_its_first_answer_is_told_again_when_the_version_is_gone_meanwhile(people: People) -> None:
    """Checks are run ahead of the transaction that knows the answer, and find no version to look at."""
    number = await add_version(people, "gone", PICKLE, value=0.98)
    wanted = {"requestId": str(uuid.uuid4())}
    first = await promote(people, number, **wanted)
    await people.ask("wim", "DeleteVersion", {"version": {"model": MODEL, "number": number}})

    assert first.state == REFUSED
    assert await promote(people, number, **wanted) == first
    assert await refused(people, "wim", "CreatePromotion", proposal(number)) == (
        "NOT_FOUND",
        "VERSION_DELETED",
    )


def proposal(number: int) -> dict[str, Any]:
    return {"version": {"model": MODEL, "number": number}, "target": PRODUCTION}


async def test_an_alias_cannot_be_set_past_a_policy(people: People) -> None:
    policy = {"namespace": "risk", "name": "alias", "target": {"alias": "champion"}}
    proposed = (await people.ask("max", "SetPolicy", {"policy": policy})).promotion
    await review(people, "ann", proposed)

    wanted = {"version": {"model": MODEL, "number": 1}, "alias": "champion"}
    assert await refused(people, "wim", "SetAlias", wanted) == (
        "FAILED_PRECONDITION",
        "POLICY_REQUIRES_PROMOTION",
    )
    assert (await promote(people, 1, target={"alias": "champion"})).state == APPLIED


@pytest.mark.parametrize(
    ("who", "verdict", "reason"),
    [
        ("wim", "APPROVE", "PERMISSION_MISSING"),
        ("admin", "APPROVE", "PERMISSION_MISSING"),
        ("ann", "UNSPECIFIED", "ENUM_INVALID"),
        ("ann", "COMMENT", "FIELD_REQUIRED"),
        ("ann", "WITHDRAW", "REVIEW_NOT_GIVEN"),
    ],
)
async def test_a_review_that_is_wrong_is_refused(people: People, who: str, verdict: str, reason: str) -> None:
    number = await add_version(people, f"{who} {verdict}", JSON, value=0.98)
    promotion = await promote(people, number)

    assert (await refused(people, who, "ReviewPromotion", named(promotion, verdict=f"VERDICT_{verdict}")))[
        1
    ] == reason


async def test_a_target_and_a_version_must_be_named(people: People) -> None:
    version = {"model": MODEL, "number": 1}
    for fields in ({"version": version}, {"version": {"model": MODEL}, "target": PRODUCTION}):
        assert (await refused(people, "wim", "CreatePromotion", fields))[1] == "ONEOF_REQUIRED"


async def test_an_override_shows_on_the_version_and_needs_its_role(people: People) -> None:
    await people.add("bob", break_glass="risk")
    refusal = await promote(people, 2)
    wanted = {"scope": MODEL, "number": refusal.number, "reason": "production is down"}
    assert (await refused(people, "admin", "OverridePromotion", wanted))[1] == "PERMISSION_MISSING"

    done = (await people.ask("bob", "OverridePromotion", wanted)).promotion

    assert (done.state, done.reviews[-1].verdict) == (
        pb.PROMOTION_STATE_OVERRIDDEN,
        pb.VERDICT_OVERRIDE,
    )
    found = await people.ask("vic", "GetVersion", {"version": {"model": MODEL, "number": 2}})
    assert (found.version.override.actor.id, found.version.override.promotion) == (
        "user:bob",
        f"{MODEL}#{done.number}",
    )


async def test_a_revoked_version_is_not_pulled_at_once_also_where_it_was_just_read(people: People) -> None:
    number = await add_version(people, "revoked", JSON, value=0.5)
    version = {"model": MODEL, "number": number}
    read = {"version": version, "path": "w.bin"}
    assert await people.ask("wim", "ReadFile", read)
    assert not (await people.ask("wim", "GetVersion", {"version": version})).version.HasField("revocation")

    await people.ask("ann", "RevokeVersion", {"version": version, "reason": "it leaks"})

    assert (await refused(people, "wim", "ReadFile", read))[1] == "VERSION_REVOKED"
    found = (await people.ask("wim", "GetVersion", {"version": version})).version
    assert found.revocation.actor.id == "user:ann"


async def test_without_logins_stages_move_at_once_and_approvals_are_not_demanded(tmp_path: Path) -> None:
    async with running_server(tmp_path / "data") as running:
        with pytest.raises(Refused) as error:
            await call(running.channel, "SetPolicy", {"policy": POLICY | {"namespace": "default"}})
        assert error.value.reason == "AUTHENTICATION_REQUIRED"


def named(promotion: Any, **fields: Any) -> dict[str, Any]:
    return {"scope": promotion.scope, "number": promotion.number} | fields
