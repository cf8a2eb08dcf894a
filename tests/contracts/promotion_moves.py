"""Moves of the game of test_fold.py that decide what goes where."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import select

from steelyard_server.core import evidence, promoting, references, reviews
from steelyard_server.core.policy_drafts import Check, Draft
from steelyard_server.core.targets import Target
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Row
from tests.contracts.registry import number

TARGETS = (
    *(Target("stage", name) for name in ("staging", "production", "production", "archived")),
    *(Target("alias", name) for name in ("champion", "Champion")),
)
CHECKS = (Check("even", "candidate.number % 2 == 0"), Check("true", "true"))
POLICIES = ("careful", "strict")
_OPEN = select(tables.promotions).where(tables.promotions.c.state == "open")
_MODELS = select(tables.models)
_NAMES = select(tables.namespaces)


class PromotionMoves:
    """Propose, report and cancel, and change policies, at random."""

    database: Database
    dice: random.Random
    write: Callable[..., Awaitable[Any]]

    def promotion_moves(self) -> list[Callable[[], Awaitable[Any]]]:
        """Return what can be tried."""
        of_policies = [self.set_policy, self.remove_policy, self.remove_policy]
        of_open = [self.report_check, self.comment, self.cancel_promotion]
        ends = [*(4 * [self.override_promotion]), self.revoke_version]
        return [*(9 * [self.promote]), *of_policies, *(3 * of_open), self.report_check, *ends]

    async def promote(self) -> None:
        space, name = self.dice.choice(("default", "other")), self.dice.choice(("fraud", "churn", "Straße"))
        reference = number(self.dice.randrange(1, 6), model=f"{space}/{name}")
        target = self.dice.choice(TARGETS)
        options = {"archive_incumbent": target.kind == "stage" and self.dice.random() < 0.5}
        await self.judged(reference=reference, target=target, **options)

    async def judged(self, *, reference: references.Reference, target: Target, **options: Any) -> None:
        wanted: dict[str, Any] = {"reference": reference, "target": target}
        judged = None
        while True:
            try:
                return await self.write(reviews.propose, judged=judged, **wanted, **options)
            except promoting.Stale:
                inputs = await self.database.read(promoting.gather, author="ada", **wanted)
                judged = evidence.judge(inputs, formats={})

    async def set_policy(self) -> None:
        outside = self.dice.choice(((), ("bias",), ("bias",), ("bias",)))
        models = self.dice.choice((("fraud",), ("*",), ()))
        draft = Draft(
            self.dice.choice(TARGETS), models, self.dice.choice(((), (), CHECKS)), outside, description="🦉"
        )
        name = self.dice.choice(POLICIES)
        await self.write(reviews.propose_policy, namespace="default", name=name, draft=draft)

    async def remove_policy(self) -> None:
        name = self.dice.choice(POLICIES)
        await self.write(reviews.propose_policy, namespace="default", name=name, draft=None)

    async def report_check(self) -> None:
        given = reviews.Report("bias", self.dice.random() < 0.5, "https://ci/1", "two\nlines")
        await self.of_open(reviews.report, given=given)

    async def comment(self) -> None:
        await self.of_open(reviews.review, verdict="comment")

    async def cancel_promotion(self) -> None:
        await self.of_open(reviews.cancel)

    async def override_promotion(self) -> None:
        await self.of_open(reviews.override)

    async def revoke_version(self) -> None:
        reference = number(self.dice.randrange(1, 6), model="default/churn")
        await self.write(reviews.revoke, reference=reference)

    async def of_open(self, use_case: Callable[..., Any], **options: Any) -> None:
        """Do something with a promotion that is open, if there is one."""
        rows = await self.database.read(lambda tx: tx.all(_OPEN))
        wanted = await self.named(self.dice.choice(rows)) if rows else {"scope": "default", "number": 99}
        judged = {}
        while True:
            try:
                return await self.write(use_case, **wanted, **judged, **options)
            except promoting.Stale:
                inputs = await self.database.read(promoting.gather_again, **wanted)
                judged = {"judged": evidence.judge(inputs, formats={})}

    async def named(self, row: Row) -> dict[str, Any]:
        models = {each.id: each for each in await self.database.read(lambda tx: tx.all(_MODELS))}
        spaces = {each.id: each.name for each in await self.database.read(lambda tx: tx.all(_NAMES))}
        return {"scope": f"{spaces[row.namespace_id]}/{models[row.model_id].name}", "number": row.number}
