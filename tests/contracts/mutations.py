"""One valid call of every RPC that changes the registry, each on things of its own.

A case is named by its RPC, and by what is special about it after a blank.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.api.logins import People
from tests.api.test_second_tenant import content, upload, version

SPACE = "risk"
PRODUCTION = {"stage": "production"}
APPROVED = ("reviewpromotion", "cancelpromotion", "overridepromotion", "reject", "comment", "withdraw")

Fields = dict[str, Any]
Case = Callable[[People], Awaitable[tuple[str, Fields]]]
CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    """Enter what prepares a call and returns who makes it, with which fields."""

    def entered(prepare: Case) -> Case:
        CASES[name] = prepare
        return prepare

    return entered


def simple(name: str, who: str, fields: Fields) -> None:
    """Enter a call that needs nothing prepared."""

    @case(name)
    async def _(_: People) -> tuple[str, Fields]:
        return who, fields


def on_model(name: str, who: str, fields: Callable[[str], Fields], *, before: tuple[str, ...] = ()) -> None:
    """Enter a call on a model with two versions, after calls of *before* on its first one."""

    @case(name)
    async def _(people: People) -> tuple[str, Fields]:
        model = await made(people, name.replace(" ", "-").lower())
        for rpc in before:
            await people.ask("admin", rpc, {"name": model} if rpc.endswith("Model") else of(model))
        return who, fields(model)


async def prepare(people: People) -> None:
    """Let people log in, and put policies in force."""
    await people.ask("admin", "CreateNamespace", {"name": SPACE})
    for who, role in (
        ("wim", "writer"),
        ("eve", "evaluator"),
        ("ann", "approver"),
        ("bob", "break_glass"),
        # Whoever makes the tokens of others proposes nothing: it could use them.
        ("mia", "admin"),
    ):
        await people.add(who, **{role: SPACE})
    await upload(people, "wim", SPACE)
    common = {"namespace": SPACE, "target": PRODUCTION}
    await in_force(people, common | {"name": "careful", "models": APPROVED, "approvals": {"count": 1}})
    await in_force(people, common | {"name": "outside", "models": ["reportcheck"], "outsideChecks": ["bias"]})


async def in_force(people: People, policy: Fields) -> None:
    proposed = (await people.ask("mia", "SetPolicy", {"policy": policy})).promotion
    await people.ask("ann", "ReviewPromotion", verdict_of(proposed.scope, proposed.number))


async def made(people: People, name: str) -> str:
    """Make a model with two versions."""
    model = f"{SPACE}/{name}"
    await people.ask("wim", "CreateModel", {"name": model})
    for number in (1, 2):
        await people.ask("wim", "CreateVersion", content(model, parameter=f"{name} {number}"))
    return model


def of(model: str, number: int = 1, **fields: Any) -> Fields:
    return {"version": version(model, number)} | fields


def verdict_of(scope: str, number: int = 1, verdict: str = "APPROVE", reason: str = "") -> Fields:
    return {"scope": scope, "number": number, "verdict": f"VERDICT_{verdict}", "reason": reason}


def on_promotion(name: str, who: str, fields: Callable[[str], Fields], *, model: str = "") -> None:
    """Enter a call on an open promotion of the first version of *model*."""

    @case(name)
    async def _(people: People) -> tuple[str, Fields]:
        found = await made(people, model or name.lower())
        await people.ask("wim", "CreatePromotion", of(found, target=PRODUCTION))
        return who, fields(found)


simple("CreateToken", "admin", {"principal": "user:new"})
simple("GrantRole", "admin", {"subject": "user:new", "role": "ROLE_READER", "scope": SPACE})
simple("CreateGroup", "admin", {"name": "new", "members": ["user:ann"]})
simple("CreateNamespace", "admin", {"name": "new"})
simple(
    "UpdateNamespace",
    "admin",
    {"namespace": {"name": SPACE, "description": "x"}, "updateMask": "description"},
)
simple("CreateEnvironment", "admin", {"name": "new", "accepts": ["production"]})
simple("CreateModel", "wim", {"name": f"{SPACE}/new"})
simple("SetPolicy", "admin", {"policy": {"namespace": SPACE, "name": "new", "target": {"alias": "best"}}})
simple("DeletePolicy", "admin", {"namespace": SPACE, "name": "careful"})

on_model("CreateVersion", "wim", lambda model: content(model, parameter="third"))
on_model("UpdateVersion", "wim", lambda model: of(model, description="x", updateMask="description"))
on_model("DeleteVersion", "wim", of)
on_model("UndeleteVersion", "wim", of, before=("DeleteVersion",))
on_model("PurgeVersion", "admin", of, before=("DeleteVersion",))
on_model("CopyVersion", "wim", lambda model: {"source": version(model), "model": f"{SPACE}/copies"})
on_model(
    "RecordEvaluation", "eve", lambda model: of(model, evaluation={"metrics": [{"name": "f1", "value": 0.5}]})
)
on_model(
    "BatchCreateVersions",
    "wim",
    lambda model: {"model": model, "requests": [content(model, parameter=each) for each in "ab"]},
)
on_model(
    "UpdateModel",
    "wim",
    lambda model: {"model": {"name": model, "description": "x"}, "updateMask": "description"},
)
on_model("RenameModel", "admin", lambda model: {"name": model, "newName": f"{SPACE}/renamed"})
on_model("DeleteModel", "wim", lambda model: {"name": model})
on_model("UndeleteModel", "wim", lambda model: {"name": model}, before=("DeleteModel",))
on_model("PurgeModel", "admin", lambda model: {"name": model}, before=("DeleteModel",))
on_model("SetAlias", "wim", lambda model: of(model, alias="best"))
on_model("CreatePromotion", "wim", lambda model: of(model, target=PRODUCTION))
on_model("CreatePromotion to-an-alias", "wim", lambda model: of(model, target={"alias": "best"}))
on_model("RevokeVersion", "ann", lambda model: of(model, reason="it leaks"))

on_promotion("ReviewPromotion", "ann", verdict_of)
on_promotion(
    "ReviewPromotion that-rejects", "ann", lambda model: verdict_of(model, verdict="REJECT"), model="reject"
)
on_promotion(
    "ReviewPromotion that-comments",
    "ann",
    lambda model: verdict_of(model, verdict="COMMENT", reason="why?"),
    model="comment",
)
on_promotion(
    "ReportCheck", "eve", lambda model: {"scope": model, "number": 1, "check": "bias", "passed": True}
)
on_promotion("CancelPromotion", "wim", lambda model: {"scope": model, "number": 1})
on_promotion("OverridePromotion", "bob", lambda model: {"scope": model, "number": 1, "reason": "down"})


@case("RevokeToken")
async def _(people: People) -> tuple[str, Fields]:
    return "admin", {"uid": await people.add("brief")}


@case("RevokeRole")
async def _(people: People) -> tuple[str, Fields]:
    await people.add("former", reader=SPACE)
    return "admin", {"subject": "user:former", "role": "ROLE_READER", "scope": SPACE}


@case("UpdateGroup")
async def _(people: People) -> tuple[str, Fields]:
    await people.ask("admin", "CreateGroup", {"name": "changed"})
    return "admin", {"group": {"name": "changed", "members": ["user:ann"]}, "updateMask": "members"}


@case("DeleteGroup")
async def _(people: People) -> tuple[str, Fields]:
    await people.ask("admin", "CreateGroup", {"name": "gone", "members": ["user:ann"]})
    return "admin", {"name": "gone"}


@case("DeleteNamespace")
async def _(people: People) -> tuple[str, Fields]:
    await people.ask("admin", "CreateNamespace", {"name": "gone"})
    return "admin", {"name": "gone"}


@case("UpdateEnvironment")
async def _(people: People) -> tuple[str, Fields]:
    await people.ask("admin", "CreateEnvironment", {"name": "changed"})
    return "admin", {"environment": {"name": "changed", "accepts": ["production"]}, "updateMask": "accepts"}


@case("DeleteEnvironment")
async def _(people: People) -> tuple[str, Fields]:
    """Delete one on which somebody has a role, which ends with it."""
    await people.ask("admin", "CreateEnvironment", {"name": "gone"})
    grant = {"subject": "user:new", "role": "ROLE_DEPLOYER", "scope": "environment:gone"}
    await people.ask("admin", "GrantRole", grant)
    return "admin", {"name": "gone"}


@case("DeleteAlias")
async def _(people: People) -> tuple[str, Fields]:
    model = await made(people, "deletealias")
    await people.ask("wim", "SetAlias", of(model, alias="best"))
    return "wim", {"model": model, "alias": "best"}


@case("RollbackAlias")
async def _(people: People) -> tuple[str, Fields]:
    model = await made(people, "rollbackalias")
    for number in (1, 2):
        await people.ask("wim", "SetAlias", of(model, number, alias="best"))
    return "wim", {"model": model, "alias": "best"}


@case("CreatePromotion that-archives")
async def _(people: People) -> tuple[str, Fields]:
    model = await made(people, "archives")
    await people.ask("wim", "CreatePromotion", of(model, target=PRODUCTION))
    return "wim", of(model, 2, target=PRODUCTION, archiveIncumbent=True)


@case("ReviewPromotion of-a-policy")
async def _(people: People) -> tuple[str, Fields]:
    policy = {"namespace": SPACE, "name": "second", "target": {"alias": "second"}}
    proposed = (await people.ask("mia", "SetPolicy", {"policy": policy})).promotion
    return "ann", verdict_of(SPACE, proposed.number)
