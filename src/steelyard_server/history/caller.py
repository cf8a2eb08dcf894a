"""Who calls, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Rights:
    """What somebody who logged in may do, as it stood at one moment; ``core/access.py`` reads it.

    Args:
        sequence: of the last change of tokens, groups and grants that they take into account.
        expire_time: when the login ends, in microseconds.
        permissions: those that hold on each scope, by the key of the scope.
        claimed_groups: groups that an identity provider said the caller is in, without `group:`.
        makers: who else made the token of the login, or one of those that it goes back to.
    """

    sequence: int
    expire_time: int
    permissions: Mapping[str, frozenset[str]]
    claimed_groups: tuple[str, ...] = ()
    makers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller as the history names them.

    Args:
        id: identity, for example `user:ada`, or the stated name as it was given.
        kind: `stated` for a name that nobody verified.
        authenticated: whether the server verified the identity.
        method: how the identity was established.
        token_uid: of the token that they logged in with, or empty.
        issuer: URL of the identity provider that vouched for them, or empty.
        groups: that they are in, without `group:`.
        rights: what they may do; None when nobody has to log in, and everybody may do everything.
    """

    id: str
    kind: Literal["person", "service", "stated"] = "stated"
    authenticated: bool = False
    method: str = "stated"
    token_uid: str = ""
    issuer: str = ""
    groups: tuple[str, ...] = ()
    rights: Rights | None = field(default=None, compare=False, repr=False)

    def as_json(self) -> dict[str, str | bool]:
        """Write the caller as it stands in events."""
        told: dict[str, str | bool] = {
            "id": self.id,
            "kind": self.kind,
            "authenticated": self.authenticated,
            "method": self.method,
        }
        vouched = {"token_uid": self.token_uid, "issuer": self.issuer}
        return told | {name: value for name, value in vouched.items() if value}
