"""Stages in use: what keeps one from being taken out of the list of a namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select

from steelyard_server.core import promotion_states, stages
from steelyard_server.core.targets import STAGE
from steelyard_server.db import tables
from steelyard_server.errors import StageInUse
from steelyard_server.history import events

if TYPE_CHECKING:
    from steelyard_server.core.namespaces import Namespace
    from steelyard_server.db.database import Transaction

_M, _P, _R, _V = tables.models.c, tables.policies.c, tables.promotions.c, tables.versions.c
_OF_MODEL = _M.namespace_id == bindparam("namespace")
_POLICY = (
    select(_P.name)
    .where(
        _P.namespace_id == bindparam("namespace"),
        _P.target_kind == STAGE,
        _P.target_name == bindparam("stage"),
    )
    .order_by(_P.name)
    .limit(1)
)
_VERSION = (
    select(_M.name, _V.number)
    .join(tables.versions, _V.model_id == _M.id)
    .where(_OF_MODEL, _M.purge_time.is_(None), _V.stage == bindparam("stage"), _V.delete_time.is_(None))
    .limit(1)
)
_PROMOTION = (
    select(_M.name, _R.number)
    .join(tables.promotions, _R.model_id == _M.id)
    .where(
        _OF_MODEL,
        _R.target_kind == STAGE,
        _R.target_name == bindparam("stage"),
        promotion_states.holds(promotion_states.OPEN, now=bindparam("now")),
    )
    .limit(1)
)


def require_unused(tx: Transaction, *, before: Namespace, after: Namespace) -> None:
    """Demand that nothing needs a stage that goes out of the list; to be called behind the stamp.

    Raises:
        StageInUse: a policy protects it, a version that is not deleted is in it, or an open promotion
            leads there.
    """
    kept = stages.of(after)
    for stage in stages.of(before):
        if stage not in kept:
            _require_unused(tx, stage, namespace=before)


def _require_unused(tx: Transaction, stage: str, *, namespace: Namespace) -> None:
    used = _user(tx, stage, namespace=namespace)
    if used is None:
        return
    user, by, advice = used
    message = f"The stage {stage} stays in the list of {namespace.name}: {advice}."
    facts = {"namespace": namespace.name, "stage": stage, "because": user, "by": by}
    raise StageInUse(message, field="namespace.stages", **facts)


def _user(tx: Transaction, stage: str, *, namespace: Namespace) -> tuple[str, str, str] | None:
    """Return the kind and the name of something that needs a stage, and what to do about it."""
    named = {"namespace": namespace.id, "stage": stage}
    policy = tx.one(_POLICY, **named)
    if policy is not None:
        by = f"{namespace.name}/{policy.name}"
        return "policy", by, f"the policy {by} protects it; change or remove that first"
    version = tx.one(_VERSION, **named)
    if version is not None:
        by = f"{namespace.name}/{version.name}:{version.number}"
        return "version", by, f"{by} is in it; promote that to another stage first"
    promotion = tx.one(_PROMOTION, now=events.now(), **named)
    if promotion is not None:
        by = f"{namespace.name}/{promotion.name}#{promotion.number}"
        return "promotion", by, f"the promotion {by} leads there and is open; cancel it first"
    return None
