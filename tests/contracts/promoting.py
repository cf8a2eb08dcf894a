"""People who log in, and promotions as the service makes them: with checks between two transactions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from steelyard_server.core import access as core_access
from steelyard_server.core import evidence, grants, groups, promoting, reviews, tokens
from steelyard_server.core.policy_drafts import Approvals, Check, Draft
from steelyard_server.core.reviews import View
from steelyard_server.core.targets import Target
from steelyard_server.db.database import Database
from steelyard_server.history.act import Act
from steelyard_server.history.caller import Caller
from tests.contracts.registry import FRAUD, act, number

PRODUCTION = Target("stage", "production")
CHAMPION = Target("alias", "champion")
SMALL = Check("small", "candidate.number < 100")


def demanding(target: Target = PRODUCTION, **rule: Any) -> Draft:
    """Draft a policy that wants the approval of one person."""
    return Draft(target, checks=(SMALL,), approvals=Approvals(**{"count": 1} | rule))


class Board:
    """A registry with people, who may do what their roles say."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def login(self, who: str) -> Act:
        """Log in anew, with a token of its own."""
        secret = tokens.make()
        names = {"uid": secret.uid, "digest": secret.digest}
        await self.database.write(tokens.create, act(), principal=who, **names)
        return Act(await self.database.read(core_access.log_in, **names))

    async def person(self, who: str, *roles: str, scope: str = "default") -> Act:
        """Give somebody roles and log them in."""
        for role in roles:
            await self.database.write(grants.grant, act(), subject=who, role=role, scope=scope)
        return await self.login(who)

    async def group(self, name: str, *members: str) -> None:
        """Make a group."""
        await self.database.write(groups.create, act(), name=name, draft=groups.Draft(members=members))

    async def again(self, who: Act) -> Act:
        """Read the rights of somebody anew."""
        return Act(await self.database.read(core_access.current, who.caller, demand=None))

    async def promote(self, who: Act, version: int, target: Target = PRODUCTION, **options: Any) -> View:
        """Propose to move a version of the model that all tests have."""
        wanted: dict[str, Any] = {"reference": number(version, model=FRAUD), "target": target}
        return await self.propose(who, wanted, **options)

    async def propose(self, who: Act, wanted: dict[str, Any], **options: Any) -> View:
        """Propose to move any version."""
        gather = partial(promoting.gather, author=who.caller.id)
        return await self.checked(who, reviews.propose, gather, wanted, **options)

    async def say(self, who: Act, view: View, verdict: str = "approve") -> View:
        """Review a promotion."""
        return await self.checked(who, reviews.review, promoting.gather_again, named(view), verdict=verdict)

    async def report(self, who: Act, view: View, check: str, *, passed: bool = True) -> View:
        """Report a check from outside."""
        given = reviews.Report(check, passed)
        return await self.checked(who, reviews.report, promoting.gather_again, named(view), given=given)

    async def set_policy(self, draft: Draft | None, *, name: str = "careful") -> None:
        """Put a policy in force, as where two persons agreed."""
        author, other = await self.login("user:boss"), await self.person("user:second", "approver")
        wanted = {"namespace": "default", "name": name, "draft": draft}
        view = await self.database.write(reviews.propose_policy, author, **wanted)
        assert (await self.say(other, view)).state == "applied"

    async def see(self, view: View, *, caller: Caller | None = None) -> View:
        """Read a promotion anew."""
        return await self.database.read(reviews.get, **named(view), caller=caller or act().caller)

    async def checked(
        self,
        who: Act,
        use_case: Callable[..., View],
        gather: Callable[..., evidence.Inputs],
        wanted: dict[str, Any],
        **options: Any,
    ) -> View:
        """Do what the service does: run the checks when a transaction wants that, and try again."""
        judged = None
        while True:
            try:
                return await self.database.write(use_case, who, judged=judged, **wanted, **options)
            except promoting.Stale:
                inputs = await self.database.read(gather, **wanted)
                judged = evidence.judge(inputs, formats={})


def named(view: View) -> dict[str, Any]:
    return {"scope": view.promotion.scope.text, "number": view.promotion.number}
