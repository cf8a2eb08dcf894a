"""Promotions: requests to move a version to a target or to change a policy, as they are kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from sqlalchemy import bindparam, func, select, update

from steelyard_server.core import (
    access,
    governance,
    models,
    names,
    namespaces,
    pages,
    promotion_states,
    roles,
)
from steelyard_server.core.filters import search
from steelyard_server.core.filters.promotion_fields import PROMOTION_FIELDS, PromotionScope
from steelyard_server.core.filters.search import Listing
from steelyard_server.core.governance import Revision
from steelyard_server.core.promotion_states import OPEN
from steelyard_server.core.targets import Target
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of, insert_generated
from steelyard_server.errors import PromotionNotFound
from steelyard_server.history import canonical, events
from steelyard_server.history.events import Change, Scope, Text
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steelyard_server.core.filters.search import Position
    from steelyard_server.core.models import Model
    from steelyard_server.core.namespaces import Namespace
    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.caller import Caller
    from steelyard_server.history.canonical import Json

WAITING: Final = "waiting"
PASSED: Final = "passed"
FAILED: Final = "failed"
APPROVE: Final = "approve"
REJECT: Final = "reject"
WITHDRAW: Final = "withdraw"
COMMENT: Final = "comment"
OVERRIDE: Final = "override"
NEWEST_FIRST: Final = "sequence desc"

_P = tables.promotions.c
_FIND = select(tables.promotions).where(
    _P.namespace_id == bindparam("namespace"),
    _P.model_id == bindparam("model"),
    _P.number == bindparam("number"),
)
_LAST_NUMBER = select(func.coalesce(func.max(_P.number), 0).label("number")).where(
    _P.namespace_id == bindparam("namespace"), _P.model_id == bindparam("model")
)
_OPEN = (
    select(tables.promotions)
    .where(
        _P.namespace_id == bindparam("namespace"),
        _P.model_id == bindparam("model"),
        _P.target_kind == bindparam("kind"),
        _P.target_name == bindparam("name"),
        _P.version_number == bindparam("version"),
        promotion_states.holds(OPEN, now=bindparam("now")),
    )
    .order_by(_P.number.desc())
    .limit(1)
)
_PAGE = select(tables.promotions).where(any_of(_P.id, "ids"))
_INSERT = insert_generated(tables.promotions)
_CHANGING = ("state", "ended", "content", "update_time", "sequence")
_UPDATE = (
    update(tables.promotions)
    .where(_P.id == bindparam("promotion"))
    .values({name: bindparam(name) for name in _CHANGING})
)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A check and what it found; *report_time* is text, empty for a check that the server ran."""

    policy: str
    name: str
    state: str
    outside: bool = False
    reason: str = ""
    message: str = ""
    uri: str = ""
    reporter: Mapping[str, Any] | None = None
    report_time: str = ""


@dataclass(frozen=True, slots=True)
class Review:
    """What somebody said in the event *sequence*.

    Args:
        policies: names of those that it counts for; empty text for a second person that none asks for.
        withdrawn: whether an approval was taken back.
        groups: of an identity provider, by which they might approve; it is not asked again.
    """

    reviewer: Mapping[str, Any]
    verdict: str
    create_time: str
    sequence: str
    policies: tuple[str, ...] = ()
    withdrawn: bool = False
    groups: tuple[str, ...] = ()

    @property
    def approves(self) -> bool:
        """Return whether it is an approval that was not taken back."""
        return self.verdict == APPROVE and not self.withdrawn


@dataclass(frozen=True, slots=True)
class Scoped:
    """What a promotion is numbered in: a model, or a namespace; *model* is then None."""

    namespace: Namespace
    model: Model | None

    @property
    def text(self) -> str:
        """Write the scope as requests name it."""
        return self.model.text if self.model else self.namespace.name

    @property
    def model_id(self) -> int:
        """Return the key of the model, 0 for none."""
        return self.model.id if self.model else 0


@dataclass(frozen=True, slots=True)
class Promotion:
    """A promotion as it is stored; times are microseconds, `id` is the key of its row.

    Args:
        state: also `open` when its time is over, or when *ended* says what ended it.
        ended: `superseded` when its policies changed, `refused` when its version was revoked, `cancelled`
            when that was deleted; else empty.
        reinstates: sequence, as text, of the event that revoked the version; empty when it is in use.
        proposal: a policy as it is to be, None when it is to be removed or this is about a version.
    """

    id: int
    uid: str
    scope: Scoped
    number: int
    target: Target
    state: str
    version: int
    digest: str
    incumbent: int
    archive_incumbent: bool
    reinstates: str
    proposal: Mapping[str, Any] | None
    policies: tuple[Revision, ...]
    evaluations: tuple[str, ...]
    incumbent_evaluations: tuple[str, ...]
    checks: tuple[CheckResult, ...]
    reviews: tuple[Review, ...]
    author: Mapping[str, Any]
    create_time: int
    update_time: int
    expire_time: int
    create_sequence: int
    sequence: int
    ended: str = ""

    @property
    def model_id(self) -> int:
        """Return the key of its model, 0 for a change of a policy."""
        return self.scope.model_id

    def state_at(self, now: int) -> str:
        """Return how it stands at a time in microseconds."""
        state, ended = self.state, self.ended
        return promotion_states.at(state=state, ended=ended, expire_time=self.expire_time, now=now)

    @property
    def text(self) -> str:
        """Write the promotion as `risk/fraud#7`."""
        return f"{self.scope.text}#{self.number}"


def scoped(tx: Transaction, text: str, *, lock: bool = False) -> Scoped:
    """Find what a scope names.

    Args:
        lock: keep others from changing it until the commit.

    Raises:
        NamespaceNotFound, ModelNotFound, ModelDeleted: there is none.
    """
    if "/" not in text:
        names.namespace(text, field="scope")
        return Scoped(namespaces.find(tx, name=text, lock=lock), None)
    model = models.find(tx, name=text, field="scope", lock=lock)
    return Scoped(namespaces.find(tx, name=model.namespace), model)


def find(tx: Transaction, *, scope: str, number: int, lock: bool = False) -> Promotion:
    """Return one promotion.

    Raises:
        NamespaceNotFound, ModelNotFound, PromotionNotFound: there is none.
    """
    names.number(number, field="number", minimum=1)
    where = scoped(tx, scope, lock=lock)
    row = tx.one(_FIND, namespace=where.namespace.id, model=where.model_id, number=number)
    if row is None:
        message = f"{where.text} has no promotion {number}; list its promotions."
        raise PromotionNotFound(message, scope=where.text, number=number)
    return _value(row, scope=where)


def find_open(tx: Transaction, *, scope: Scoped, target: Target, version: int, now: int) -> Promotion | None:
    """Return the promotion of a version to a target that is open, or None."""
    row = tx.one(
        _OPEN,
        namespace=scope.namespace.id,
        model=scope.model_id,
        kind=target.kind,
        name=target.name,
        version=version,
        now=now,
    )
    return None if row is None else _value(row, scope=scope)


def next_number(tx: Transaction, *, scope: Scoped) -> int:
    """Return the number of the next promotion of a locked scope."""
    row = tx.one(_LAST_NUMBER, namespace=scope.namespace.id, model=scope.model_id)
    return 1 if row is None else int(row.number) + 1


def page(
    tx: Transaction,
    *,
    scope: str,
    filter: str = "",  # noqa: A002 - as the request calls it
    order_by: str = "",
    open_at: int = 0,
    after: Position | None = None,
    page_size: int = 0,
    caller: Caller = access.UNLIMITED,
) -> tuple[list[Promotion], Position | None]:
    """Return promotions that pass a filter, and the position behind them; None when nothing follows.

    Args:
        scope: of a model, a namespace, or `namespace/-`.
        order_by: the newest come first when it is empty.
        open_at: a time in microseconds; only those that are open then, 0 for all.

    Raises:
        NamespaceNotFound, ModelNotFound, ModelDeleted: there is none of this name.
        PermissionMissing: the caller may not read in the scope.
        FilterInvalid, OrderByInvalid, TooLong: with the column where one stands.
        PageTokenInvalid: *after* is no position in this list.
    """
    where, listed = _listed(tx, scope, open_at=open_at, caller=caller)
    found = search.page(
        tx,
        Listing(PROMOTION_FIELDS, listed, ("sequence",)),
        statement=_PAGE,
        size_bytes=_size_bytes,
        page_size=page_size,
        filter=filter,
        order_by=order_by or NEWEST_FIRST,
        after=after,
    )
    keys = {row.model_id for row in found.entries} - {0} if listed.model_id is None else set()
    parents = models.by_ids(tx, sorted(keys))
    return [
        _value(row, scope=_scope_of(row, where, parents=parents)) for row in found.entries
    ], found.position


def _listed(tx: Transaction, scope: str, *, open_at: int, caller: Caller) -> tuple[Scoped, PromotionScope]:
    space, _, short = scope.partition("/")
    if short != names.ALL_MODELS:
        access.require(caller, roles.READ, scope)
        where = scoped(tx, scope)
        return where, PromotionScope(where.namespace.id, where.model_id, open_at=open_at)
    where = scoped(tx, space)
    readable = access.models_of(caller, roles.READ, namespace=space)
    return where, PromotionScope(where.namespace.id, readable=readable, open_at=open_at)


def _size_bytes(row: Row) -> int:
    """Estimate what a promotion adds to an answer, its reason and the words of its reviews among it."""
    words_bytes: int = (1 + row.content.count('"verdict":')) * LIMITS.reason_bytes
    return pages.utf8_bytes(row.content, row.policies, row.author) + words_bytes + 1024


def add(tx: Transaction, promotion: Promotion) -> Change:
    """Insert a new promotion; return the change for its event."""
    tx.one(_INSERT, **_row(promotion))
    return _change(promotion, previous=0)


def save(tx: Transaction, promotion: Promotion, *, before: Promotion) -> Change:
    """Write a promotion in place of what it was; return the change for the event."""
    row = _row(promotion)
    tx.run(_UPDATE, {name: row[name] for name in _CHANGING} | {"promotion": before.id})
    return _change(promotion, previous=before.sequence)


def _scope_of(row: Row, where: Scoped, *, parents: Mapping[int, Model]) -> Scoped:
    return Scoped(where.namespace, parents[row.model_id]) if row.model_id in parents else where


def _value(row: Row, *, scope: Scoped) -> Promotion:
    content = orjson.loads(row.content)
    return Promotion(
        id=row.id,
        uid=row.uid,
        scope=scope,
        number=row.number,
        target=Target(row.target_kind, row.target_name),
        state=row.state,
        version=row.version_number,
        digest=content["digest"],
        incumbent=int(content["incumbent"]),
        archive_incumbent=content["archive_incumbent"],
        reinstates=content["reinstates"],
        proposal=content["proposal"],
        policies=tuple(Revision(**each) for each in orjson.loads(row.policies)),
        evaluations=tuple(content["evaluations"]),
        incumbent_evaluations=tuple(content["incumbent_evaluations"]),
        checks=tuple(CheckResult(**each) for each in content["checks"]),
        reviews=tuple(_review(each) for each in content["reviews"]),
        author=orjson.loads(row.author),
        create_time=row.create_time,
        update_time=row.update_time,
        expire_time=row.expire_time,
        create_sequence=row.create_sequence,
        sequence=row.sequence,
        ended=row.ended,
    )


def _review(read: Mapping[str, Any]) -> Review:
    return Review(**{**read, "policies": tuple(read["policies"]), "groups": tuple(read["groups"])})


def content_of(promotion: Promotion) -> dict[str, Any]:
    """Write what was looked at, found and said, as its row has it, but for the policies."""
    return {
        "digest": promotion.digest,
        "incumbent": str(promotion.incumbent),
        "archive_incumbent": promotion.archive_incumbent,
        "reinstates": promotion.reinstates,
        "proposal": promotion.proposal,
        "evaluations": list(promotion.evaluations),
        "incumbent_evaluations": list(promotion.incumbent_evaluations),
        "checks": [asdict(each) for each in promotion.checks],
        "reviews": [
            asdict(each) | {"policies": list(each.policies), "groups": list(each.groups)}
            for each in promotion.reviews
        ],
    }


def _row(promotion: Promotion) -> dict[str, object]:
    return {
        "uid": promotion.uid,
        "namespace_id": promotion.scope.namespace.id,
        "model_id": promotion.model_id,
        "number": promotion.number,
        "target_kind": promotion.target.kind,
        "target_name": promotion.target.name,
        "version_number": promotion.version,
        "state": promotion.state,
        "ended": promotion.ended,
        "policies": governance.revisions_text(promotion.policies),
        "content": canonical.text(content_of(promotion)),
        "author_id": promotion.author["id"],
        "author": canonical.text(promotion.author),
        "create_time": promotion.create_time,
        "update_time": promotion.update_time,
        "expire_time": promotion.expire_time,
        "create_sequence": promotion.create_sequence,
        "sequence": promotion.sequence,
    }


def _change(promotion: Promotion, *, previous: int) -> Change:
    where = promotion.scope
    content = content_of(promotion)
    # What a job reports, and what a policy says of itself, is free text.
    free = {
        name: Text(canonical.text(content[name]) if content[name] else "") for name in ("checks", "proposal")
    }
    after: dict[str, Json | Text] = {
        **content,
        **free,
        "policies": [asdict(each) for each in promotion.policies],
        "namespace": where.namespace.uid,
        "model": where.model.uid if where.model else "",
        "number": str(promotion.number),
        "target_kind": promotion.target.kind,
        "target_name": promotion.target.name,
        "version": str(promotion.version),
        "state": promotion.state,
        "author": promotion.author,
        "create_time": events.time_text(promotion.create_time),
        "update_time": events.time_text(promotion.update_time),
        "expire_time": events.time_text(promotion.expire_time),
    }
    scope = where.model.scope if where.model else Scope(where.namespace.uid)
    return Change(f"promotion/{promotion.text}", promotion.uid, previous, after, scope)
