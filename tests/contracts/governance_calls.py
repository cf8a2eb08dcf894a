"""What people ask of a server in the game of governance, and of the rules in plain Python beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.api.test_second_tenant import content
from tests.contracts.governance_game import Rules
from tests.contracts.governance_nouns import Draft, Login, Target
from tests.contracts.governance_people import APPROVER

Place = tuple[str, int]
ORIGIN = {"system": "steelyard", "uri": "urn:uuid:1", "version": "risk/fraud:7", "uid": "there"}


@dataclass(frozen=True)
class Call:
    """A call of somebody, and the same to the rules."""

    by: Login
    rpc: str
    fields: dict[str, Any]
    rules: Callable[[Rules], Any]


def version_at(model: str, number: int) -> dict[str, Any]:
    return {"version": {"model": model, "number": number}}


def promotion_at(place: Place) -> dict[str, Any]:
    return {"scope": place[0], "number": place[1]}


def create(by: Login, model: str, which: str, *, imported: bool = False) -> Call:
    fields = content(model, parameter=which) | ({"origin": ORIGIN} if imported else {})
    return Call(by, "CreateVersion", fields, lambda rules: rules.make(by.who, model, which))


def copy(by: Login, source: str, number: int, model: str) -> Call:
    fields = {"source": {"model": source, "number": number}, "model": model}

    def copied(rules: Rules) -> tuple[bool, int]:
        return rules.make(by.who, model, rules.usable(source, number).content)

    return Call(by, "CopyVersion", fields, copied)


def evaluate(by: Login, model: str, number: int) -> Call:
    fields = version_at(model, number) | {"evaluation": {"metrics": [{"name": "precision", "value": 0.5}]}}
    return Call(by, "RecordEvaluation", fields, lambda rules: rules.measure(by.who, model, number))


def promote(by: Login, model: str, number: int, to: Target, *, archives: bool = False) -> Call:
    fields = version_at(model, number) | {"target": dict([to]), "archive_incumbent": archives}
    return Call(
        by,
        "CreatePromotion",
        fields,
        lambda rules: rules.propose(by.who, model, number, to, archives=archives),
    )


def set_policy(by: Login, space: str, name: str, draft: Draft | None) -> Call:
    named = {"namespace": space, "name": name}
    rpc, fields = ("SetPolicy", {"policy": named | draft.fields()}) if draft else ("DeletePolicy", named)
    return Call(by, rpc, fields, lambda rules: rules.propose_policy(by.who, space, name, draft))


def review(by: Login, place: Place, verdict: str) -> Call:
    def said(rules: Rules) -> None:
        proposal = rules.find(place)
        if verdict == "APPROVE":
            rules.approve(by, proposal)
        else:
            (rules.reject if verdict == "REJECT" else rules.withdraw)(by.who, proposal)

    return Call(by, "ReviewPromotion", promotion_at(place) | {"verdict": f"VERDICT_{verdict}"}, said)


def approve(by: Login, place: Place) -> Call:
    return review(by, place, "APPROVE")


def report(by: Login, place: Place, *, passed: bool) -> Call:
    fields = promotion_at(place) | {"check": "bias", "passed": passed}
    return Call(by, "ReportCheck", fields, lambda rules: rules.report(rules.find(place), passed=passed))


def cancel(by: Login, place: Place) -> Call:
    return Call(by, "CancelPromotion", promotion_at(place), lambda rules: rules.cancel(rules.find(place)))


def override(by: Login, place: Place) -> Call:
    fields = promotion_at(place) | {"reason": "it is on fire"}
    return Call(by, "OverridePromotion", fields, lambda rules: rules.override(by, rules.find(place)))


def revoke(by: Login, model: str, number: int) -> Call:
    fields = version_at(model, number) | {"reason": "it leaks"}
    return Call(by, "RevokeVersion", fields, lambda rules: rules.revoke(by.who, model, number))


def set_alias(by: Login, model: str, name: str, number: int) -> Call:
    fields = version_at(model, number) | {"alias": name}
    return Call(by, "SetAlias", fields, lambda rules: rules.set_alias(model, name, number))


def delete_alias(by: Login, model: str, name: str) -> Call:
    fields = {"model": model, "alias": name}
    return Call(by, "DeleteAlias", fields, lambda rules: rules.delete_alias(model, name))


def end_version(by: Login, rpc: str, model: str, number: int) -> Call:
    """Delete, undelete or purge a version."""
    says = {"Delete": Rules.delete, "Undelete": Rules.undelete, "Purge": Rules.purge}[rpc]
    return Call(by, f"{rpc}Version", version_at(model, number), lambda rules: says(rules, model, number))


def end_model(by: Login, rpc: str, model: str) -> Call:
    """Delete, undelete or purge a model."""
    says = {"Delete": Rules.delete_model, "Undelete": Rules.undelete_model, "Purge": Rules.purge_model}[rpc]
    return Call(by, f"{rpc}Model", {"name": model}, lambda rules: says(rules, model))


def rename(by: Login, model: str, new: str) -> Call:
    fields = {"name": model, "new_name": new}
    return Call(by, "RenameModel", fields, lambda rules: rules.rename(model, new))


def set_stages(by: Login, space: str, stages: tuple[str, ...]) -> Call:
    fields = {"namespace": {"name": space, "stages": list(stages)}, "update_mask": "stages"}
    return Call(by, "UpdateNamespace", fields, lambda rules: rules.set_stages(space, stages))


def grant(by: Login, subject: str, scope: str, *, role: str = APPROVER) -> Call:
    fields = {"subject": subject, "role": f"ROLE_{role}", "scope": scope}
    return Call(by, "GrantRole", fields, lambda rules: rules.people.grant(by, subject, role, scope))


def take(by: Login, subject: str, scope: str, *, role: str = APPROVER) -> Call:
    fields = {"subject": subject, "role": f"ROLE_{role}", "scope": scope}
    return Call(by, "RevokeRole", fields, lambda rules: rules.people.revoke(subject, role, scope))


def set_members(by: Login, members: set[str]) -> Call:
    fields = {"group": {"name": "risk", "members": sorted(members)}, "update_mask": "members"}
    return Call(by, "UpdateGroup", fields, lambda rules: rules.people.set_members(by, members))
