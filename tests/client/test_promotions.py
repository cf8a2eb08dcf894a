"""Promotions and policies in the client, blocking and with asyncio."""

from __future__ import annotations

from pathlib import Path

import pytest

import steelyard
from steelyard import errors, reasons
from tests.client.trees import MODEL, write_tree
from tests.servers import ServerProcess

POLICY = {
    "name": "careful",
    "target": {"stage": "production"},
    "checks": [{"name": "small", "expression": "candidate.number < 2"}],
    "outsideChecks": ["bias"],
}


@pytest.fixture
def pushed(client: steelyard.Client, tmp_path: Path) -> steelyard.Client:
    """Push two versions."""
    client.push("fraud", write_tree(tmp_path / "model", MODEL))
    client.push("fraud", write_tree(tmp_path / "other", MODEL | {"config.json": b"{}"}))
    return client


def test_a_version_goes_through_a_policy_and_another_is_stopped(pushed: steelyard.Client) -> None:
    model = pushed.models.get("fraud").name
    space = model.partition("/")[0]
    assert pushed.policies.set(POLICY | {"namespace": space}, reason="as agreed").state == "applied"
    assert [each.name for each in pushed.policies.list(space)] == ["careful"]
    assert pushed.policies.get(space, "careful").revision == 1

    told = pushed.promotions.create("fraud:2", stage="production", validate_only=True)
    assert (told.state, [each.state for each in told.checks]) == ("refused", ["failed", "waiting"])
    waiting = pushed.promotions.create("fraud:1", stage="production")
    assert (str(waiting), waiting.state) == (f"{model}#1", "open")
    assert waiting.actions == ("override", "comment", "report-check", "cancel")
    said = pushed.promotions.review(model, 1, "comment", reason="wait for the report")
    assert said.message.reviews[0].comment == "wait for the report"
    assert pushed.promotions.report(model, 1, "bias", passed=True).state == "applied"
    assert pushed.get("fraud:1").stage == "production"

    refused = pushed.promotions.create("fraud:2", stage="production")
    done = pushed.promotions.override(model, refused.number, reason="production is down")
    assert (done.state, pushed.get("fraud:2").stage) == ("overridden", "production")
    assert [each.number for each in pushed.promotions.list(f"{space}/-") if each.scope == model] == [2, 1]
    assert pushed.promotions.get(model, 1).target == "stage production"
    assert pushed.policies.delete(space, "careful").state == "applied"


def test_what_is_wrong_is_an_error_of_its_own(pushed: steelyard.Client, tmp_path: Path) -> None:
    space = pushed.models.get("fraud").name.partition("/")[0]
    for wanted in ({}, {"stage": "staging", "alias": "champion"}):
        with pytest.raises(errors.InvalidArgument):
            pushed.promotions.create("fraud:1", **wanted)
    with pytest.raises(errors.InvalidArgument, match="no policy"):
        pushed.policies.set({"nmae": "careful"})
    checks = [{"name": "wrong", "expression": "candidate.nubmer > 1"}]
    with pytest.raises(reasons.PolicyInvalid, match="column"):
        pushed.policies.set(POLICY | {"namespace": space, "checks": checks})
    with pytest.raises(reasons.PromotionNotFound):
        pushed.promotions.cancel(f"{space}/fraud", 9)
    assert pushed.promotions.revoke("fraud:1", reason="it leaks").message.HasField("revocation")
    with pytest.raises(reasons.VersionRevoked):
        pushed.pull("fraud:1", tmp_path / "copy")


async def test_with_asyncio_it_is_the_same(pushed: steelyard.Client, shared: ServerProcess) -> None:
    model = pushed.models.get("fraud").name
    async with steelyard.AsyncClient(shared.address) as client:
        made = await client.promotions.create(f"{model}:1", alias="champion")
        assert (made.state, (await client.promotions.get(model, 1)).target) == ("applied", "alias champion")
        assert [each.number async for each in client.promotions.list(model)] == [1]
        assert await client.policies.list(model.partition("/")[0]) == ()
