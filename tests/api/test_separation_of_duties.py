"""Who may not approve, over a real channel: each is refused with its own reason, and nothing is promoted."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from steelyard.v1 import promotion_pb2 as pb
from tests.api.calls import Refused
from tests.api.logins import People
from tests.api.test_second_tenant import content, upload, version
from tests.issuers import AUDIENCE, URL, Provider, rsa_key, settings
from tests.servers import running_server

SPACE, PRODUCTION = "risk", {"stage": "production"}
APPROVER = {"role": "ROLE_APPROVER", "scope": SPACE}
BANK = Provider([rsa_key("first")])

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Board:
    """People, and a model with a policy of its own for each test."""

    people: People
    numbers: Any = field(default_factory=itertools.count)

    async def open(self, **rules: Any) -> Any:
        """Open a promotion that wants one approval, unless *rules* of its policy say more."""
        name = f"model{next(self.numbers)}"
        model = f"{SPACE}/{name}"
        await self.people.ask("wim", "CreateModel", {"name": model})
        await self.people.ask("cas", "CreateVersion", content(model, parameter=name))
        await self.set_policy(name, **({"approvals": {"count": 1}} | rules))
        fields = {"version": version(model), "target": PRODUCTION}
        return (await self.people.ask("wim", "CreatePromotion", fields)).promotion

    async def set_policy(self, name: str, **rules: Any) -> None:
        policy = {"namespace": SPACE, "name": name, "models": [name], "target": PRODUCTION} | rules
        proposed = (await self.people.ask("max", "SetPolicy", {"policy": policy})).promotion
        await self.say("tom", proposed)

    async def say(self, who: str, promotion: Any) -> Any:
        fields = {"scope": promotion.scope, "number": promotion.number, "verdict": "VERDICT_APPROVE"}
        return (await self.people.ask(who, "ReviewPromotion", fields)).promotion

    async def refusal(self, who: str, promotion: Any) -> tuple[str, str]:
        """Approve in vain; return the reason, and what the error says of it."""
        with pytest.raises(Refused) as refused:
            await self.say(who, promotion)
        found = await self.people.ask("tom", "GetVersion", {"version": version(promotion.scope)})
        assert found.version.stage == "development"
        facts = refused.value.info.metadata
        return refused.value.reason, facts.get("because", facts.get("state", ""))

    async def second_token(self, who: str) -> str:
        """Let somebody log in with another token; return the name of that login."""
        made = await self.people.ask("admin", "CreateToken", {"principal": f"user:{who}"})
        self.people.tokens[f"{who} again"] = made.secret
        return f"{who} again"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def board(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Board]:
    directory = tmp_path_factory.mktemp("duties")
    keys = directory / "keys.json"
    keys.write_text(BANK.key_set())
    table = {"url": URL, "audience": AUDIENCE, "jwks_file": str(keys)}
    async with running_server(directory / "data", **settings(directory, table)) as running:
        people = People(running)
        await people.ask("admin", "CreateNamespace", {"name": SPACE})
        await people.add("max", admin=SPACE)
        for who in ("wim", "cas"):
            await people.add(who, writer=SPACE, approver=SPACE)
        await people.add("eve", evaluator=SPACE, approver=SPACE)
        for who in ("tom", "ann"):
            await people.add(who, approver=SPACE)
        await upload(people, "wim", SPACE)
        yield Board(people)


async def test_the_author_does_not_approve_with_another_token_either(board: Board) -> None:
    promotion = await board.open()

    for login in ("wim", await board.second_token("wim")):
        assert await board.refusal(login, promotion) == ("REVIEWER_NOT_INDEPENDENT", "author")


async def test_the_author_does_not_approve_as_a_member_of_a_group(board: Board) -> None:
    await board.people.ask("admin", "CreateGroup", {"name": "office", "members": ["user:wim", "user:ann"]})
    await board.people.ask("admin", "GrantRole", {"subject": "group:office"} | APPROVER)
    promotion = await board.open(approvals={"count": 1, "groups": ["group:office"]})

    assert await board.refusal("wim", promotion) == ("REVIEWER_NOT_INDEPENDENT", "author")
    assert await board.refusal("tom", promotion) == ("REVIEWER_NOT_ASKED", "")
    assert (await board.say("ann", promotion)).state == pb.PROMOTION_STATE_APPLIED


async def test_nobody_approves_with_a_token_that_the_author_made(board: Board) -> None:
    promotion = await board.open()
    fields = {"version": version(promotion.scope), "target": {"alias": "champion"}}
    policy = {"namespace": SPACE, "name": "alias", "target": fields["target"], "approvals": {"count": 1}}
    await board.say("tom", (await board.people.ask("max", "SetPolicy", {"policy": policy})).promotion)
    proposed = (await board.people.ask("admin", "CreatePromotion", fields)).promotion

    assert await board.refusal("ann", proposed) == ("REVIEWER_NOT_INDEPENDENT", "token")
    made = await board.people.ask("ann", "CreateToken")
    board.people.tokens["ann, by herself"] = made.secret
    assert await board.refusal("ann, by herself", proposed) == ("REVIEWER_NOT_INDEPENDENT", "token")


async def test_an_admin_does_not_become_an_approver_by_themselves(board: Board) -> None:
    for role in ("ROLE_APPROVER", "ROLE_BREAK_GLASS"):
        fields = {"subject": "user:max", "role": role, "scope": SPACE}
        with pytest.raises(Refused) as refused:
            await board.people.ask("max", "GrantRole", fields)
        assert (refused.value.code, refused.value.reason) == ("FAILED_PRECONDITION", "ROLE_NOT_FOR_ONESELF")
        assert dict(refused.value.info.metadata) == {
            "role": role.removeprefix("ROLE_").lower().replace("_", "-"),
            "subject": "user:max",
        }


async def test_a_service_does_not_approve(board: Board) -> None:
    made = await board.people.ask("admin", "CreateToken", {"principal": "service:robot"})
    board.people.tokens["robot"] = made.secret
    await board.people.ask("admin", "GrantRole", {"subject": "service:robot"} | APPROVER)

    assert (await board.refusal("robot", await board.open()))[0] == "REVIEWER_NOT_PERSON"


@pytest.mark.parametrize("claims", [{"azp": "job"}, {"idtyp": "app", "azp": "other"}])
async def test_a_service_of_a_provider_does_not_approve(board: Board, claims: dict[str, str]) -> None:
    for subject in ("user:job", "service:job"):
        await board.people.ask("admin", "GrantRole", {"subject": subject} | APPROVER)
    promotion = await board.open()
    board.people.tokens["job"] = BANK.login("job", **claims)

    assert (await board.refusal("job", promotion))[0] == "REVIEWER_NOT_PERSON"

    # The same name is that of a person when its login is one of a person.
    board.people.tokens["person"] = BANK.login("job", azp="steelyard-cli")
    assert (await board.say("person", promotion)).state == pb.PROMOTION_STATE_APPLIED


async def test_who_made_or_measured_the_version_does_not_approve(board: Board) -> None:
    promotion = await board.open()
    evaluation = {"metrics": [{"name": "f1", "value": 0.5}]}
    reference = version(promotion.scope)
    await board.people.ask("eve", "RecordEvaluation", {"version": reference, "evaluation": evaluation})

    assert await board.refusal("cas", promotion) == ("REVIEWER_NOT_INDEPENDENT", "creator")
    assert await board.refusal("eve", promotion) == ("REVIEWER_NOT_INDEPENDENT", "evaluator")


async def test_a_policy_that_changed_meanwhile_supersedes_the_promotion(board: Board) -> None:
    promotion = await board.open()
    await board.set_policy(promotion.scope.partition("/")[2], approvals={"count": 2})

    assert await board.refusal("ann", promotion) == ("PROMOTION_CLOSED", "superseded")


async def test_two_reviews_of_one_person_count_once(board: Board) -> None:
    promotion = await board.open(approvals={"count": 2})
    await board.say("ann", promotion)

    for login in ("ann", await board.second_token("ann")):
        assert (await board.refusal(login, promotion))[0] == "REVIEW_GIVEN"


async def test_who_lost_the_role_does_not_approve(board: Board) -> None:
    promotion = await board.open()
    await board.people.add("kim", approver=SPACE)
    await board.people.ask("admin", "RevokeRole", {"subject": "user:kim"} | APPROVER)

    assert (await board.refusal("kim", promotion))[0] == "PERMISSION_MISSING"


async def test_who_approves_reads_no_bytes(board: Board) -> None:
    promotion = await board.open()

    with pytest.raises(Refused) as refused:
        await board.people.ask("ann", "ReadFile", {"version": version(promotion.scope), "path": "w.bin"})

    assert refused.value.reason == "PERMISSION_MISSING"
    assert (await board.say("ann", promotion)).state == pb.PROMOTION_STATE_APPLIED


async def test_an_evaluation_by_the_author_of_the_version_is_none_where_another_is_demanded(
    board: Board,
) -> None:
    await board.people.grant("cas", "evaluator", SPACE)
    check = {"name": "measured", "expression": 'candidate.has_metric("f1")'}
    first = await board.open(checks=[check], evaluations={"independent": True})
    wanted = {"version": version(first.scope), "target": PRODUCTION}
    evaluation = {"metrics": [{"name": "f1", "value": 0.5}]}
    states = []
    for who in ("cas", "eve"):
        measured = {"version": version(first.scope), "evaluation": evaluation}
        await board.people.ask(who, "RecordEvaluation", measured)
        states.append((await board.people.ask("wim", "CreatePromotion", wanted)).promotion.state)

    assert states == [pb.PROMOTION_STATE_REFUSED, pb.PROMOTION_STATE_OPEN]
