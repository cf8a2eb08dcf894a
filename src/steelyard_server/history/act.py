"""A mutation as its caller means it: who, why, and under which request id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard_server.history.caller import Caller


@dataclass(frozen=True, slots=True)
class RequestKey:
    """Identify a request for repetition: the same id must come with the same digest.

    Args:
        method: name of the RPC.
        id: UUID that the client chose.
        digest: sha256 of the request without its id, deterministically serialised.
    """

    method: str
    id: str
    digest: str

    def as_json(self) -> dict[str, str]:
        """Write the key as it stands in an event."""
        return {"method": self.method, "id": self.id, "digest": self.digest}


@dataclass(frozen=True, slots=True)
class Act:
    """Say who changes something and why.

    Args:
        caller: who calls.
        reason: free text for the history, may be empty.
        request: the request id with its request, or None when the caller gave none.
    """

    caller: Caller
    reason: str = ""
    request: RequestKey | None = None
