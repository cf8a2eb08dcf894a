"""Moves of the game of test_fold.py that change who may do what, and the environments it may be done in."""

from __future__ import annotations

import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from steelyard_server.core import environments, grants, groups, requests, roles, tokens
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction
from steelyard_server.history.act import Act, RequestKey
from tests.contracts.registry import act

PRINCIPALS = ("user:ada", "user:grace", "service:ci")
GROUPS = ("fraud-team", "risk-office")
ENVIRONMENTS = ("production", "test")
SUBJECTS = (*PRINCIPALS, *(f"group:{name}" for name in GROUPS))
# Names of models too that there are not, that there were, and in another letter case.
SCOPES = (
    *(
        "",
        "default",
        "other",
        "other",
        "environment:production",
        "environment:production",
        "environment:test",
    ),
    *("default/fraud", "default/Fraud", "default/churn", "default/Straße", "default/STRASSE", "default/日本"),
    *(f"default/passing {index}" for index in range(3)),
)


@dataclass
class AccessMoves:
    """Change tokens, groups and grants at random."""

    database: Database
    dice: random.Random

    async def write(self, use_case: Any, **arguments: Any) -> Any:
        """Write as a random caller, some of the time with a reason or a request id."""
        why = act(self.dice.choice(("ada", "grace")), reason=self.dice.choice(("", "because 🦉")))
        if self.dice.random() < 0.5:
            return await self.database.write(use_case, why, **arguments)
        key = RequestKey("Rpc", str(uuid.UUID(int=self.dice.getrandbits(8))), "sha256:1")
        why = Act(why.caller, why.reason, key)
        return await self.database.write(requests.once, why, use_case, lambda _: b"", **arguments)

    def access_moves(self) -> list[Callable[[], Awaitable[Any]]]:
        """Return what can be tried."""
        of_groups = [self.create_group, self.update_group, self.delete_group]
        of_roles = [*(5 * [self.grant_role]), self.revoke_role]
        of_environments = [self.create_environment, self.update_environment, self.delete_environment]
        return [*of_groups, *of_roles, *of_environments, self.create_token, self.revoke_token]

    async def create_environment(self) -> None:
        await self.write(environments.create, name=self.dice.choice(ENVIRONMENTS), draft=self.environment())

    async def update_environment(self) -> None:
        mask = self.dice.choice((None, ("accepts",), environments.MUTABLE))
        name, draft = self.dice.choice(ENVIRONMENTS), self.environment()
        await self.write(environments.modify, name=name, draft=draft, mask=mask)

    async def delete_environment(self) -> None:
        await self.write(environments.remove, name=self.dice.choice(ENVIRONMENTS))

    async def create_group(self) -> None:
        draft = groups.Draft("two\nlines", members=self.members())
        await self.write(groups.create, name=self.dice.choice(GROUPS), draft=draft)

    async def update_group(self) -> None:
        draft = groups.Draft(members=self.members())
        await self.write(groups.modify, name=self.dice.choice(GROUPS), draft=draft, mask=("members",))

    async def delete_group(self) -> None:
        await self.write(groups.remove, name=self.dice.choice(GROUPS))

    async def grant_role(self) -> None:
        await self.write(grants.grant, **self.grant())

    async def revoke_role(self) -> None:
        rows = await self.database.read(lambda tx: tx.all(_GRANTED))
        some = [{"subject": row.subject, "role": row.role, "scope": row.scope} for row in rows]
        await self.write(grants.revoke, **self.dice.choice([*some, self.grant()]))

    async def create_token(self) -> None:
        secret = tokens.make()
        principal = self.dice.choice(PRINCIPALS)
        await self.write(
            tokens.create, uid=secret.uid, digest=secret.digest, principal=principal, description="🦉"
        )

    async def revoke_token(self) -> None:
        rows = await self.database.read(_token_uids)
        await self.write(tokens.revoke, uid=self.dice.choice([*rows, "0" * 16]))

    def grant(self) -> dict[str, str]:
        role = self.dice.choice(("viewer", roles.ADMIN))
        return {"subject": self.dice.choice(SUBJECTS), "role": role, "scope": self.dice.choice(SCOPES)}

    def environment(self) -> environments.Draft:
        accepts = self.dice.choice(((), ("production",), ("production", "staging")))
        text, labels = self.dice.choice((("", {}), ("where \U0001f989\nit runs", {"region": "eu"})))
        return environments.Draft(text, labels, accepts)

    def members(self) -> tuple[str, ...]:
        return tuple(self.dice.sample(PRINCIPALS, k=self.dice.randrange(len(PRINCIPALS))))


_GRANTED = select(tables.grants).order_by(tables.grants.c.id)
_TOKENS = select(tables.tokens.c.uid).order_by(tables.tokens.c.id)


def _token_uids(tx: Transaction) -> list[str]:
    return [row.uid for row in tx.all(_TOKENS)]
