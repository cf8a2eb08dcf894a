"""Who calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller as the history names them.

    Args:
        id: identity, for example `user:ada`, or the stated name as it was given.
        kind: `stated` for a name that nobody verified.
        authenticated: whether the server verified the identity.
        method: how the identity was established.
    """

    id: str
    kind: Literal["person", "service", "stated"] = "stated"
    authenticated: bool = False
    method: str = "stated"

    def as_json(self) -> dict[str, str | bool]:
        """Write the caller as it stands in events."""
        return {"id": self.id, "kind": self.kind, "authenticated": self.authenticated, "method": self.method}
