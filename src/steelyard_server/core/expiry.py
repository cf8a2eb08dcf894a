"""Expiry: what the retention of namespaces lets go, by and by.

Versions that nothing keeps are deleted as by a caller, and what was deleted long enough ago is
purged. All times are compared with one moment, which whoever lets go chooses: so what was deleted
in a run is never purged in it, and a rehearsal finds what a run would.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import ColumnElement, and_, bindparam, exists, func, or_, select

from steelyard_server.core import (
    blockers,
    deletions,
    model_deletions,
    models,
    namespaces,
    promotion_states,
    stages,
)
from steelyard_server.db import tables
from steelyard_server.errors import LimitExceeded, ModelNotFound, NamespaceNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard_server.core.deletions import Purged
    from steelyard_server.core.models import Model
    from steelyard_server.core.namespaces import Namespace
    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.act import Act

# What one transaction ends at most, so that no other waits long for it; one version goes in any case.
STEP_VERSIONS = 100
STEP_FILES = 10_000
# Models that one read looks at.
PAGE_MODELS = 100
# Of one model that a rehearsal names.
NAMED_VERSIONS = 100

_M, _N, _V = tables.models.c, tables.namespaces.c, tables.versions.c
_newer = tables.versions.alias("newer")
_LOWEST_KEPT = (
    select(_newer.c.number)
    .where(_newer.c.model_id == _M.id, _newer.c.delete_time.is_(None))
    .order_by(_newer.c.number.desc())
    .limit(1)
    .offset(bindparam("newest_kept") - 1)
    .correlate(tables.models)
    .scalar_subquery()
)
# Somebody may approve it any day.
_IS_PROPOSED = exists().where(
    tables.promotions.c.model_id == _V.model_id,
    tables.promotions.c.version_number == _V.number,
    promotion_states.holds(promotion_states.OPEN, now=bindparam("now")),
)
_EXPIRED = and_(
    _V.model_id == _M.id,
    _M.delete_time.is_(None),
    _V.delete_time.is_(None),
    _V.create_time <= bindparam("deletes_until"),
    _V.number < _LOWEST_KEPT,
    # Whoever put it into another stage wants it there.
    or_(_V.stage == stages.FIRST, _V.stage == stages.ARCHIVED),
    blockers.FREE,
    ~_IS_PROPOSED,
)
# Those of a deleted model go with it, and only with it.
_OVER = and_(
    _V.model_id == _M.id,
    or_(
        and_(_M.delete_time.is_(None), _V.delete_time <= bindparam("purges_until")),
        _M.delete_time <= bindparam("purges_until"),
    ),
)
_PAGE = (
    select(
        _M.id,
        _M.name,
        (_M.delete_time <= bindparam("purges_until")).label("is_over"),
        select(func.count()).where(_EXPIRED).correlate(tables.models).scalar_subquery().label("expired"),
        select(func.count()).where(_OVER).correlate(tables.models).scalar_subquery().label("over"),
    )
    .where(_M.namespace_id == bindparam("namespace"), _M.id > bindparam("after"), _M.purge_time.is_(None))
    .order_by(_M.id)
    .limit(PAGE_MODELS)
)
_SOME_EXPIRED, _SOME_OVER = (
    select(tables.versions)
    .join(tables.models, _M.id == _V.model_id)
    .where(_M.id == bindparam("model"), which)
    .order_by(_V.number)
    .limit(STEP_VERSIONS + 1)
    for which in (_EXPIRED, _OVER)
)
_EXPIRED_NUMBERS, _OVER_NUMBERS = (
    select(_V.number)
    .join(tables.models, _M.id == _V.model_id)
    .where(_M.id == bindparam("model"), which)
    .order_by(_V.number)
    .limit(NAMED_VERSIONS)
    for which in (_EXPIRED, _OVER)
)

# Holds for rows of `versions`, joined with `models` and `namespaces`, that are purged at the moment `now`.
_purges_until: ColumnElement[int] = bindparam("now") - _N.retention_purge_after_seconds * 1_000_000
IS_OVER = and_(
    _N.retention_purge_after_seconds > 0,
    or_(
        and_(_M.delete_time.is_(None), func.coalesce(_V.delete_time <= _purges_until, False)),
        func.coalesce(_M.delete_time <= _purges_until, False),
    ),
)


class Due(NamedTuple):
    """A model of which something is to go.

    Args:
        is_over: whether it is to be purged itself.
        deleted: how many versions are to be deleted.
        purged: how many versions are to be purged.
    """

    id: int
    model: str
    is_over: bool
    deleted: int
    purged: int


@dataclass(frozen=True, slots=True)
class Step:
    """What one transaction let go, by number; `sequence` is that of its event."""

    sequence: int
    deleted: tuple[int, ...] = ()
    purged: tuple[int, ...] = ()
    purged_models: int = 0

    @property
    def deleted_versions(self) -> int:
        """How many versions were deleted."""
        return len(self.deleted)

    @property
    def purged_versions(self) -> int:
        """How many versions were purged."""
        return len(self.purged)


def due(tx: Transaction, *, namespace: Namespace, now: int, after_id: int) -> tuple[list[Due], int]:
    """Look at models of *namespace* behind *after_id*, at most PAGE_MODELS.

    Returns:
        Those of which something is to go at *now*, and the id of the last that was looked at, 0 when
        there was none.
    """
    rows = tx.all(_PAGE, namespace=namespace.id, after=after_id, **_bounds(namespace, now=now))
    found = [
        Due(row.id, f"{namespace.name}/{row.name}", bool(row.is_over), row.expired, row.over) for row in rows
    ]
    return [each for each in found if each[2:] != (False, 0, 0)], rows[-1].id if rows else 0


def name(tx: Transaction, *, namespace: Namespace, due: Due, now: int) -> tuple[list[int], list[int]]:
    """Return the numbers of versions that are to be deleted at *now*, and of those to be purged.

    They are the first ones, at most NAMED_VERSIONS of each.
    """
    bounds = _bounds(namespace, now=now)
    expired, over = (
        tx.all(statement, model=due.id, **bounds) if count else []
        for statement, count in ((_EXPIRED_NUMBERS, due.deleted), (_OVER_NUMBERS, due.purged))
    )
    return [row.number for row in expired], [row.number for row in over]


def let_go(tx: Transaction, act: Act, *, model: str, now: int) -> Step | None:
    """Delete or purge some of what is to go of a model at *now*, in one event; None when nothing is.

    What is to go is decided behind the lock of the model: by its aliases, stages and promotions, and the
    rule, as they are now.
    """
    with suppress(ModelNotFound, NamespaceNotFound):
        found = models.find(tx, name=model, lock=True, deleted=True)
        bounds = _bounds(namespaces.find(tx, name=found.namespace), now=now)
        if found.delete_time is not None:
            return _purge_model(tx, act, model=found, bounds=bounds)
        if rows := tx.all(_SOME_OVER, model=found.id, **bounds):
            purged = deletions.purge_some(tx, act, model=found, rows=_portion(rows))
            return _step(purged)
        if rows := tx.all(_SOME_EXPIRED, model=found.id, **bounds):
            deleted = deletions.remove_some(tx, act, model=found, rows=rows[:STEP_VERSIONS])
            return Step(deleted[0].sequence, deleted=tuple(each.number for each in deleted))
    return None


def _purge_model(tx: Transaction, act: Act, *, model: Model, bounds: dict[str, int]) -> Step | None:
    """Purge a deleted model with its last versions, or some of its first ones when there are many."""
    if model.delete_time is None or model.delete_time > bounds["purges_until"]:
        return None
    rows = tx.all(_SOME_OVER, model=model.id, **bounds)
    portion = _portion(rows)
    if len(portion) < len(rows):
        return _step(deletions.purge_some(tx, act, model=model, rows=portion))
    try:
        purged = model_deletions.purge(tx, act, name=model.text)
    except LimitExceeded:
        # Their metrics and evaluations are many: one version goes, however many it has.
        return _step(deletions.purge_some(tx, act, model=model, rows=rows[:1]))
    return Step(purged.sequence, purged=tuple(row.number for row in rows), purged_models=1)


def _step(purged: Sequence[Purged]) -> Step:
    return Step(purged[0].sequence, purged=tuple(each.number for each in purged))


def _portion(rows: Sequence[Row]) -> list[Row]:
    """Return the first of *rows* that one transaction may end."""
    files_count = 0
    for count, row in enumerate(rows):
        files_count += row.file_count
        if count and (count == STEP_VERSIONS or files_count > STEP_FILES):
            return list(rows[:count])
    return list(rows)


def _bounds(namespace: Namespace, *, now: int) -> dict[str, int]:
    rule = namespace.retention
    return {
        "newest_kept": rule.newest_kept,
        "deletes_until": rule.deletes_until(now),
        "purges_until": rule.purges_until(now),
        "now": now,
    }
