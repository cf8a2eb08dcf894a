"""Servers that want a login, and people who have one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.api.calls import call, call_raw
from tests.servers import Running

Metadata = tuple[tuple[str, str], ...]


def bearer(token: str) -> Metadata:
    """Write a token as the metadata of a call."""
    return (("authorization", f"Bearer {token}"),)


@dataclass
class People:
    """Principals of a running server by name; each has a token."""

    running: Running
    tokens: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tokens["admin"] = self.running.server.first_token

    async def ask(self, who: str, rpc: str, fields: dict[str, Any] | None = None) -> Any:
        """Call as somebody."""
        return await call(self.running.channel, rpc, fields, metadata=bearer(self.tokens[who]))

    async def send(self, who: str, rpc: str, *messages: bytes) -> Any:
        """Call as somebody, with raw messages."""
        return await call_raw(self.running.channel, rpc, *messages, metadata=bearer(self.tokens[who]))

    async def add(self, who: str, **scopes: str) -> str:
        """Give somebody a token and roles, by role in lower case; return the uid of the token."""
        made = await self.ask("admin", "CreateToken", {"principal": f"user:{who}"})
        self.tokens[who] = made.secret
        for role, scope in scopes.items():
            await self.grant(who, role, scope)
        uid: str = made.token.uid
        return uid

    async def grant(self, who: str, role: str, scope: str, *, rpc: str = "GrantRole") -> Any:
        """Give a role, or with another *rpc* take it away."""
        fields = {"subject": f"user:{who}", "role": f"ROLE_{role.upper()}", "scope": scope}
        return await self.ask("admin", rpc, fields)
