"""A second tenant learns nothing of policies, promotions and their events, whatever they know of them.

Two strangers ask: one who may do everything in another namespace, and one who may do everything with one
model of the same namespace. What is there and what is not must look the same to them, in every part of an
error and in every list.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf import json_format

from tests.api.calls import Refused
from tests.api.logins import People
from tests.api.test_second_tenant import content, upload, version
from tests.api.watches import Watch
from tests.servers import running_server

PRODUCTION = {"stage": "production"}
HIDDEN, OPEN, OTHER = "first/hidden", "first/open", "second/model"
ABSENT_DIGEST = "sha256:" + "0" * 64
# Together they give every permission, so that only where they hold can refuse anything.
EVERY_ROLE = ("admin", "approver", "break_glass")
# Numbers of promotions: HIDDEN has so many, and OPEN one.
HIDDEN_COUNT = 3

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Tenants:
    """Two tenants, and what the second one knows of the first.

    Attributes:
        digest: of a version of HIDDEN.
        evaluation: uid of one of its evaluations.
        sequence: of the newest event that is about HIDDEN.
        names: what an answer may repeat because the caller said it, and what stands for it.
    """

    people: People
    digest: str = ""
    evaluation: str = ""
    sequence: int = 0
    names: dict[str, str] = field(default_factory=dict)

    async def promote(self, who: str, model: str, number: int = 1, **fields: Any) -> Any:
        wanted = {"version": version(model, number), "target": PRODUCTION} | fields
        return (await self.people.ask(who, "CreatePromotion", wanted)).promotion

    async def told(self, who: str, rpc: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Call in vain; return everything that is said, but for what the caller said."""
        with pytest.raises(Refused) as refused:
            await self.people.ask(who, rpc, fields)
        return everything(refused.value, said=_texts(fields))

    async def must_be_same(self, who: str, rpc: str, *requests: dict[str, Any], reason: str) -> None:
        """Demand one answer to several requests, refused for one reason."""
        answers = [await self.told(who, rpc, fields) for fields in requests]
        assert answers[0]["reason"] == reason, (who, rpc)
        for other in answers[1:]:
            assert other == answers[0], (who, rpc)


def _texts(value: Any) -> set[str]:
    """Return all texts and numbers in a request."""
    if isinstance(value, dict):
        return {text for each in value.values() for text in _texts(each)}
    if isinstance(value, list):
        return {text for each in value for text in _texts(each)}
    return {str(value)} if isinstance(value, str | int) and not isinstance(value, bool) else set()


def everything(error: Refused, *, said: set[str]) -> dict[str, Any]:
    """Return every part of an error, with what was said in the request taken out."""

    def without(text: str) -> str:
        for each in sorted((each for each in said if each), key=len, reverse=True):
            text = text.replace(each, "…")
        return text

    metadata = {key: without(value) for key, value in error.info.metadata.items()}
    others = sorted(name for name in error.metadata if name not in {"steelyard-call", "date"})
    return {
        "code": error.code,
        "reason": error.reason,
        "message": without(error.message),
        "metadata": metadata,
        "fields": error.fields,
        "trailers": others,
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenants(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tenants]:
    async with running_server(tmp_path_factory.mktemp("decisions") / "data", auth="tokens") as running:
        found = Tenants(People(running))
        people = found.people
        for space in ("first", "second"):
            await people.ask("admin", "CreateNamespace", {"name": space})
        await people.add("wim", writer="first", evaluator="first")
        await people.add("cas", writer="first")
        await people.add("mia", admin="first")
        await people.add("ann", approver="first")
        for who, scope in (("stranger", "second"), ("guest", OPEN)):
            await people.add(who, **dict.fromkeys(EVERY_ROLE, scope))
        await people.add("second", writer="second", approver="second")
        await upload(people, "wim", "first")
        await upload(people, "second", "second")
        for model in (HIDDEN, OPEN):
            await people.ask("wim", "CreateModel", {"name": model})
        await people.ask("second", "CreateModel", {"name": OTHER})
        await people.ask("second", "CreateVersion", content(OTHER, parameter="other"))
        await people.ask("cas", "CreateVersion", content(OPEN, parameter="open"))
        await decide(found)
        yield found


async def decide(tenants: Tenants) -> None:
    """Let the first tenant have a policy, promotions of two models, and an evaluation."""
    people = tenants.people
    for seed in range(HIDDEN_COUNT):
        made = await people.ask("cas", "CreateVersion", content(HIDDEN, parameter=f"secret {seed}"))
        tenants.digest = made.version.digest
    policy = {"namespace": "first", "name": "careful", "target": PRODUCTION, "approvals": {"count": 1}}
    policy |= {"outsideChecks": ["bias"]}
    proposed = (await people.ask("mia", "SetPolicy", {"policy": policy})).promotion
    approval = {"scope": proposed.scope, "number": proposed.number, "verdict": "VERDICT_APPROVE"}
    await people.ask("ann", "ReviewPromotion", approval)
    measured = {
        "metrics": [{"name": "secret", "dataset": name, "value": 0.5} for name in ("one", "two")],
        "datasets": [{"name": name} for name in ("one", "two")],
    }
    recorded = await people.ask(
        "wim", "RecordEvaluation", {"version": version(HIDDEN), "evaluation": measured}
    )
    tenants.evaluation = recorded.evaluation.uid
    for number in range(1, HIDDEN_COUNT + 1):
        await tenants.promote("wim", HIDDEN, number)
    await tenants.promote("wim", OPEN)
    rejected = {"scope": HIDDEN, "number": 1, "verdict": "VERDICT_COMMENT", "reason": "a secret"}
    tenants.sequence = (await people.ask("ann", "ReviewPromotion", rejected)).sequence


def named(scope: str, number: int, **fields: Any) -> dict[str, Any]:
    return {"scope": scope, "number": number} | fields


OF_ONE = {
    "GetPromotion": {},
    "ReportCheck": {"check": "bias", "passed": True},
    "ReviewPromotion": {"verdict": "VERDICT_APPROVE"},
    "CancelPromotion": {},
    "OverridePromotion": {"reason": "now"},
}


@pytest.mark.parametrize("who", ["stranger", "guest"])
@pytest.mark.parametrize("rpc", OF_ONE)
async def test_a_promotion_that_they_may_not_see_is_as_one_that_is_not_there(
    tenants: Tenants, who: str, rpc: str
) -> None:
    rest = OF_ONE[rpc]
    places = [
        (HIDDEN, 1),
        (HIDDEN, 99),
        ("first/absent", 1),
        ("absent/model", 1),
        ("first", 1),
        ("absent", 1),
    ]
    requests = [named(*place, **rest) for place in places]
    await tenants.must_be_same(who, rpc, *requests, reason="PERMISSION_MISSING")


@pytest.mark.parametrize("rpc", OF_ONE)
async def test_a_number_that_only_another_model_has_finds_nothing(tenants: Tenants, rpc: str) -> None:
    for who, scope in (("guest", OPEN), ("stranger", OTHER)):
        requests = [named(scope, number, **OF_ONE[rpc]) for number in (HIDDEN_COUNT, 99)]
        await tenants.must_be_same(who, rpc, *requests, reason="PROMOTION_NOT_FOUND")


@pytest.mark.parametrize("rpc", ["CreatePromotion", "RevokeVersion", "GetVersion"])
async def test_a_digest_that_another_model_has_finds_nothing(tenants: Tenants, rpc: str) -> None:
    rest: dict[str, Any] = {"target": PRODUCTION} if rpc == "CreatePromotion" else {}
    rest |= {"reason": "now"} if rpc == "RevokeVersion" else {}
    for who, model in (("guest", OPEN), ("stranger", OTHER)):
        requests = [
            {"version": {"model": model, "digest": digest}} | rest
            for digest in (tenants.digest, ABSENT_DIGEST)
        ]
        await tenants.must_be_same(who, rpc, *requests, reason="VERSION_NOT_FOUND")
        requests = [
            {"version": {"model": place, "digest": tenants.digest}} | rest
            for place in (HIDDEN, "first/absent", "absent/model")
        ]
        await tenants.must_be_same(who, rpc, *requests, reason="PERMISSION_MISSING")


@pytest.mark.parametrize("who", ["stranger", "guest"])
async def test_a_policy_that_they_may_not_see_is_as_one_that_is_not_there(tenants: Tenants, who: str) -> None:
    pairs = [("first", "careful"), ("first", "absent"), ("absent", "careful")]
    for rpc in ("GetPolicy", "DeletePolicy"):
        requests = [{"namespace": space, "name": name} for space, name in pairs]
        await tenants.must_be_same(who, rpc, *requests, reason="PERMISSION_MISSING")
    policies = [{"policy": {"namespace": space, "name": name, "target": PRODUCTION}} for space, name in pairs]
    await tenants.must_be_same(who, "SetPolicy", *policies, reason="PERMISSION_MISSING")
    spaces = [{"namespace": space} for space in ("first", "absent")]
    await tenants.must_be_same(who, "ListPolicies", *spaces, reason="PERMISSION_MISSING")


async def test_a_policy_of_another_namespace_is_none_here(tenants: Tenants) -> None:
    requests = [{"namespace": "second", "name": name} for name in ("careful", "absent")]
    for rpc in ("GetPolicy", "DeletePolicy"):
        await tenants.must_be_same("stranger", rpc, *requests, reason="POLICY_NOT_FOUND")
    assert (
        list((await tenants.people.ask("stranger", "ListPolicies", {"namespace": "second"})).policies) == []
    )
    # It protects nothing here either.
    assert (await tenants.promote("stranger", OTHER)).policies == []


async def test_the_uid_of_an_evaluation_of_another_model_finds_nothing(tenants: Tenants) -> None:
    for who, model in (("guest", OPEN), ("stranger", OTHER)):
        requests = [
            {"version": version(model), "evaluation": uid} for uid in (tenants.evaluation, str(uuid.uuid4()))
        ]
        await tenants.must_be_same(who, "ReadFile", *requests, reason="EVALUATION_NOT_FOUND")


@pytest.mark.parametrize("rpc", ["ListPromotions", "ListEvents"])
async def test_lists_of_what_they_may_not_see_are_as_of_what_is_not_there(tenants: Tenants, rpc: str) -> None:
    known = {scope: await token_of(tenants, rpc, scope) for scope in (HIDDEN, "first")}
    for who in ("stranger", "guest"):
        requests = [{"scope": scope} for scope in (HIDDEN, "first/absent", "first", "absent")]
        requests += [{"scope": scope, "pageToken": token, "pageSize": 1} for scope, token in known.items()]
        requests += [{"scope": HIDDEN, "filter": text} for text in ('author = "user:wim"', "wrong = 1")] * (
            rpc == "ListPromotions"
        )
        await tenants.must_be_same(who, rpc, *requests, reason="PERMISSION_MISSING")
    requests = [{"scope": scope} for scope in ("first/-", "absent/-")]
    await tenants.must_be_same("stranger", "ListPromotions", *requests, reason="PERMISSION_MISSING")


async def token_of(tenants: Tenants, rpc: str, scope: str) -> str:
    """Return the token behind the first entry of a list of the first tenant."""
    found = await tenants.people.ask("admin", rpc, {"scope": scope, "pageSize": 1})
    token: str = found.next_page_token
    if scope == HIDDEN or rpc == "ListEvents":
        assert token
    return token


async def test_a_page_token_of_another_list_is_as_one_of_nobody(tenants: Tenants) -> None:
    for rpc in ("ListPromotions", "ListEvents"):
        token = await token_of(tenants, rpc, HIDDEN)
        for who, scope in (("guest", OPEN), ("stranger", OTHER), ("stranger", "second")):
            requests = [{"scope": scope, "pageToken": each, "pageSize": 1} for each in (token, token[::-1])]
            await tenants.must_be_same(who, rpc, *requests, reason="PAGE_TOKEN_INVALID")


async def test_a_list_of_a_namespace_has_only_models_that_the_caller_may_read(tenants: Tenants) -> None:
    seen = await tenants.people.ask("admin", "ListPromotions", {"scope": "first/-"})
    assert {each.scope for each in seen.promotions} == {HIDDEN, OPEN, "first"}
    expected = [(OPEN, 1)]
    # Whatever they compare with, and from wherever they go on, only what they may read answers.
    for fields in (
        {},
        {"pageSize": 1},
        {"waitsForCaller": True},
        {"orderBy": "author, version desc"},
        {"filter": 'author = "user:wim" AND target.stage = "production"'},
        {"filter": 'model = "hidden" OR model = "open"'},
        {"filter": "state = open OR policy = careful"},
    ):
        answer = await tenants.people.ask("guest", "ListPromotions", {"scope": "first/-"} | fields)
        assert [(each.scope, each.number) for each in answer.promotions] == expected, fields
        assert answer.next_page_token == "", fields
    for text in (
        'model = "hidden"',
        'model = "absent"',
        f"number = {HIDDEN_COUNT}",
        'target.policy = "careful"',
    ):
        answer = await tenants.people.ask("guest", "ListPromotions", {"scope": "first/-", "filter": text})
        assert (list(answer.promotions), answer.next_page_token) == ([], ""), text


async def test_a_page_token_of_who_sees_more_shows_no_more(tenants: Tenants) -> None:
    fields = {"scope": "first/-", "pageSize": 1, "orderBy": "sequence"}
    token, found = "", []
    while True:
        full = await tenants.people.ask("admin", "ListPromotions", fields | {"pageToken": token})
        token = full.next_page_token
        if not token:
            break
        answer = await tenants.people.ask("guest", "ListPromotions", fields | {"pageToken": token})
        assert answer.next_page_token == ""
        found += [{(each.scope, each.number) for each in answer.promotions}]
    assert len(found) == HIDDEN_COUNT + 1
    assert all(each <= {(OPEN, 1)} for each in found)


async def test_what_they_may_read_says_nothing_of_what_stands_beside_it(tenants: Tenants) -> None:
    answer = await tenants.people.ask("guest", "GetPromotion", {"scope": OPEN, "number": 1})
    listed = await tenants.people.ask("guest", "ListEvents", {"scope": OPEN, "pageSize": 1000})

    for message in (answer, *listed.events):
        written = json_format.MessageToJson(message) + str(getattr(message, "content", b""))
        for secret in ("hidden", tenants.digest, tenants.evaluation, "a secret"):
            assert secret not in written


async def test_events_of_others_are_not_found_by_what_is_known_of_them(tenants: Tenants) -> None:
    resources = [f"promotion/{HIDDEN}#1", "promotion/first/absent#1"]
    filters = [f'resource = "{each}"' for each in resources]
    filters += [f"sequence = {tenants.sequence}", 'reason : "secret"', 'actor = "user:ann"']
    for who, scope in (("guest", OPEN), ("stranger", OTHER), ("stranger", "second")):
        for text in filters:
            answer = await tenants.people.ask(who, "ListEvents", {"scope": scope, "filter": text})
            assert (list(answer.events), answer.next_page_token) == ([], ""), (who, text)
        for scope_of_all in ("", "first"):
            requests = [{"scope": scope_of_all, "filter": text} for text in filters]
            await tenants.must_be_same(who, "ListEvents", *requests, reason="PERMISSION_MISSING")


async def test_a_watch_from_the_beginning_brings_no_event_of_others(tenants: Tenants) -> None:
    metadata = (("authorization", f"Bearer {tenants.people.tokens['guest']}"),)
    listed = (await tenants.people.ask("guest", "ListEvents", {"scope": OPEN, "pageSize": 1000})).events
    stream = Watch(tenants.people.running.channel, metadata=metadata, scope=OPEN, after_sequence=0)

    told = await tenants.people.ask("ann", "ReviewPromotion", comment(HIDDEN))
    last = await tenants.people.ask("ann", "ReviewPromotion", comment(OPEN))

    assert await stream.until(last.sequence) == [*(each.sequence for each in listed), last.sequence]
    assert told.sequence < last.sequence
    stream.cancel()


def comment(scope: str) -> dict[str, Any]:
    return {"scope": scope, "number": 1, "verdict": "VERDICT_COMMENT", "reason": "hm"}
