"""What keeps a version or a model from being deleted: whatever points to it, or into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, exists, select

from steelyard_server.db import tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard_server.core.models import Model
    from steelyard_server.db.database import Transaction

# Names in the message and metadata of an error, which must stay small.
ALIASES_SHOWN = 20

_A, _V = tables.aliases.c, tables.versions.c
_INTO_MODEL = select(_A.name).where(_A.model_id == bindparam("model")).order_by(_A.name)
_TO_VERSION = _INTO_MODEL.where(_A.number == bindparam("number"))
# Holds for rows of `versions` to which nothing points: what `collect` finds, said in SQL.
FREE = ~exists().where(_A.model_id == _V.model_id, _A.number == _V.number)


@dataclass(frozen=True, slots=True)
class Blockers:
    """What points there: at most ``Limits.aliases_count`` names of aliases, in order."""

    aliases: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.aliases)

    @property
    def text(self) -> str:
        """Name them for people, the first few."""
        shown = ", ".join(self.aliases[:ALIASES_SHOWN])
        more = len(self.aliases) - ALIASES_SHOWN
        return f"{shown} and {more} more" if more > 0 else shown

    @property
    def facts(self) -> dict[str, Any]:
        """Return them as metadata of an error."""
        return {"count": len(self.aliases), "aliases": " ".join(self.aliases[:ALIASES_SHOWN])}


def collect(tx: Transaction, *, model: Model, number: int | None = None) -> Blockers:
    """Return what points to version *number* of a locked model; without a number, what points into it."""
    if number is None:
        rows = tx.all(_INTO_MODEL, model=model.id)
    else:
        rows = tx.all(_TO_VERSION, model=model.id, number=number)
    return Blockers([row.name for row in rows])
