"""Marks of versions, which show wherever they do: that one was revoked, that a policy was overridden."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from steelyard_server.errors import VersionRevoked

if TYPE_CHECKING:
    from steelyard_server.core.models import Model
    from steelyard_server.db.database import Row

REVOCATION: Final = "revocation"
OVERRIDE: Final = "override"


def of(row: Row) -> dict[str, Any]:
    """Return the marks of a version by kind."""
    found: dict[str, Any] = orjson.loads(row.marks) if row.marks else {}
    return found


def revocation(row: Row) -> str:
    """Return the sequence of the event that revoked a version, as text; empty when it is in use."""
    found: str = of(row).get(REVOCATION, {}).get("sequence", "")
    return found


def require_usable(row: Row, *, model: Model) -> None:
    """Demand that a version was not revoked.

    Raises:
        VersionRevoked: it was.
    """
    if not revocation(row):
        return
    when = of(row)[REVOCATION]["time"]
    message = (
        f"{model.text}:{row.number} was revoked at {when}; use another version, or put it into use again "
        "by a promotion to a place that a policy protects, which a second person approves."
    )
    raise VersionRevoked(message, model=model.text, number=row.number, revoke_time=when)
