"""Closing: what ends open promotions without a word of theirs: other policies, a revocation, a deletion.

One change may end many, so this is written beside them and not into its event; it follows from the
history all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, or_, select, update

from steelyard_server.core import governance, promotion_states
from steelyard_server.core.promotion_states import CANCELLED, REFUSED, SUPERSEDED
from steelyard_server.core.targets import Target
from steelyard_server.db import tables
from steelyard_server.history import events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard_server.core.models import Model
    from steelyard_server.core.namespaces import Namespace
    from steelyard_server.db.database import Row, Transaction

_P = tables.promotions.c
_IS_OPEN = promotion_states.holds(promotion_states.OPEN, now=bindparam("now"))
# 0 asks for those of all models; those of policies are in none.
_OPEN_TARGETS = (
    select(_P.model_id, _P.target_kind, _P.target_name)
    .where(
        _P.namespace_id == bindparam("namespace"),
        or_(bindparam("model") == 0, _P.model_id == bindparam("model")),
        _P.model_id != 0,
        _IS_OPEN,
    )
    .distinct()
)
_SUPERSEDE = (
    update(tables.promotions)
    .where(
        _P.model_id == bindparam("model"),
        _P.target_kind == bindparam("kind"),
        _P.target_name == bindparam("name"),
        _P.policies != bindparam("current"),
        _IS_OPEN,
    )
    .values(ended=SUPERSEDED)
)
_END = (
    update(tables.promotions)
    .where(_P.model_id == bindparam("model"), _P.version_number == bindparam("version"), _IS_OPEN)
    .values(ended=bindparam("as_state"))
)


def open_targets(tx: Transaction, *, namespace: Namespace) -> list[Row]:
    """Return model, kind and name of the targets to which promotions of versions are open."""
    return tx.all(_OPEN_TARGETS, namespace=namespace.id, model=0, now=events.now())


def supersede(tx: Transaction, *, model: Model, target: Target) -> None:
    """End the open promotions to a target that were judged under other policies than protect it now."""
    policies = governance.protecting(tx, model=model, target=target)
    current = governance.revisions_text(governance.revisions(policies))
    named = {"model": model.id, "kind": target.kind, "name": target.name}
    tx.run(_SUPERSEDE, {**named, "current": current, "now": events.now()})


def renamed(tx: Transaction, *, model: Model) -> None:
    """End the open promotions of a model for which more policies hold by its new name."""
    rows = tx.all(_OPEN_TARGETS, namespace=model.namespace_id, model=model.id, now=events.now())
    for row in rows:
        supersede(tx, model=model, target=Target(row.target_kind, row.target_name))


def refuse(tx: Transaction, *, model: Model, number: int) -> None:
    """End the open promotions of a version that is revoked."""
    _end(tx, REFUSED, model=model, numbers=[number])


def cancel(tx: Transaction, *, model: Model, numbers: Sequence[int]) -> None:
    """End the open promotions of versions that are deleted."""
    _end(tx, CANCELLED, model=model, numbers=numbers)


def _end(tx: Transaction, state: str, *, model: Model, numbers: Sequence[int]) -> None:
    named = {"as_state": state, "model": model.id, "now": events.now()}
    tx.run(_END, [{**named, "version": number} for number in numbers])
