"""Promotions and policies in the client, blocking and with asyncio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    with pytest.raises(reasons.EnvironmentNotFound):
        pushed.promotions.create("fraud:1", environment="production-eu")


def test_a_revoked_version_is_not_pulled_from_the_cache_and_not_exported(
    pushed: steelyard.Client, tmp_path: Path
) -> None:
    pushed.aliases.set("fraud:1", "champion")
    pushed.pull("fraud:1", tmp_path / "before")
    assert pushed.promotions.revoke("fraud:1", reason="it leaks").message.HasField("revocation")
    for ref in ("fraud:1", "fraud@champion"):
        with pytest.raises(reasons.VersionRevoked):
            pushed.pull(ref, tmp_path / "after")
    with pytest.raises(reasons.VersionRevoked):
        pushed.export_bundle(["fraud:1"], tmp_path / "one.bundle")
    done = pushed.export_bundle(["fraud"], tmp_path / "fraud.bundle")
    assert (done.version_count, done.revoked_count) == (1, 1)


def test_promotions_are_found_by_filters(pushed: steelyard.Client) -> None:
    model = pushed.models.get("fraud").name
    for number, stage in ((1, "staging"), (2, "staging"), (2, "production")):
        pushed.promotions.create(f"fraud:{number}", stage=stage)

    def numbers(**query: Any) -> list[int]:
        return [each.number for each in pushed.promotions.list(model, **query)]

    assert numbers(filter="target.stage = staging OR version = 9", order_by="number") == [1, 2]
    assert numbers(filter="version = 2 OR version = 1", open_only=True) == []
    assert numbers(waits_for_me=True) == []
    with pytest.raises(reasons.FilterInvalid, match="Column 9 "):
        numbers(filter="state = waiting")


def test_where_an_alias_would_point_is_told_and_changes_nothing(pushed: steelyard.Client) -> None:
    told = pushed.aliases.set("fraud:2", "champion", validate_only=True)
    assert (told.name, told.number, told.etag) == ("champion", 2, "")
    with pytest.raises(reasons.AliasNotFound):
        pushed.aliases.get("fraud", "champion")
    for number in (1, 2):
        pushed.aliases.set(f"fraud:{number}", "champion")
    assert pushed.aliases.rollback("fraud", "champion", validate_only=True).number == 1
    assert pushed.aliases.get("fraud", "champion").number == 2


async def test_with_asyncio_it_is_the_same(pushed: steelyard.Client, shared: ServerProcess) -> None:
    model = pushed.models.get("fraud").name
    async with steelyard.AsyncClient(shared.address) as client:
        made = await client.promotions.create(f"{model}:1", alias="champion")
        assert (made.state, (await client.promotions.get(model, 1)).target) == ("applied", "alias champion")
        assert [each.number async for each in client.promotions.list(model)] == [1]
        assert await client.policies.list(model.partition("/")[0]) == ()
