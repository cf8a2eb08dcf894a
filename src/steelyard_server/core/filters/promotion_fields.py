"""The fields of promotions, and the scope in which they are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, case, false, func, not_, select

from steelyard_server.core import names, promotion_states
from steelyard_server.core.filters.fields import Elsewhere, Fields, Own
from steelyard_server.core.filters.kinds import (
    EQUALITIES,
    Columns,
    Condition,
    Integer,
    Kind,
    ShortName,
    Time,
    Word,
)
from steelyard_server.core.filters.scope import Driver, Rows, Scope, readable_only
from steelyard_server.core.filters.tree import Fault, Value
from steelyard_server.db import tables
from steelyard_server.history import canonical, events

_P, _M = tables.promotions.c, tables.models


@dataclass(frozen=True, slots=True)
class PromotionScope:
    """The promotions of a namespace, or of one of its models; *model_id* 0 means those of its policies.

    Args:
        readable: folded names of the models that the caller may read; None for all.
        open_at: a time in microseconds; only those that are open then, 0 for all.
    """

    namespace_id: int
    model_id: int | None = None
    readable: tuple[str, ...] | None = None
    open_at: int = 0
    driver: Driver | None = None

    owner = "promotion_id"

    @property
    def id(self) -> ColumnElement[int]:
        """See `Scope.id`."""
        return _P.id

    def own(self) -> Columns:
        """See `Scope.own`."""
        return dict(_P)

    def models(self) -> Select[Any]:
        """See `Scope.models`. Nothing of promotions is measured."""
        return select(_M.c.id).where(false())

    def driven(self, _: Driver) -> PromotionScope:
        """See `Scope.driven`. Nothing of another table orders promotions."""
        return self

    def base(self) -> Select[Any]:
        """See `Scope.base`."""
        return select(_P.id.label("id")).where(*self.conditions())

    def conditions(self) -> list[Condition]:
        """Return what holds for the promotions in scope."""
        found = [_P.namespace_id == self.namespace_id]
        if self.model_id is not None:
            found.append(_P.model_id == self.model_id)
        if self.open_at:
            found.append(promotion_states.holds(promotion_states.OPEN, now=self.open_at))
        return [*found, *readable_only(self.namespace_id, self.readable, key=_P.model_id)]

    def within(self, columns: Columns) -> Condition:
        """See `Scope.within`. Only models are looked at beside promotions."""
        return columns["namespace_id"] == self.namespace_id

    def having(self, rows: Rows, condition: Condition) -> Condition:
        """See `Scope.having`."""
        columns = rows.table.c
        found = select(columns.id).where(self.within(columns), condition)
        return _P.model_id.in_(found.correlate(None))


@dataclass(frozen=True, slots=True)
class State(Own):
    """How a promotion stands now, which follows from several columns."""

    single = False

    def compare(self, _: Scope, comparator: str, value: Value) -> Condition:
        """See `Field.compare`."""
        if value.has_star or value.text not in promotion_states.ALL:
            expected = f"one of {', '.join(promotion_states.ALL)}"
            raise Fault(f"{names.quoted(value.text)} is no state", column=value.column, expected=expected)
        _require_equality(comparator, value)
        found = promotion_states.holds(value.text, now=events.now())
        return not_(found) if comparator == "!=" else found


@dataclass(frozen=True, slots=True)
class Several(Own):
    """A column that holds several values."""

    single = False


@dataclass(frozen=True, slots=True)
class PolicyName(Word):
    """The names of the policies that decide, in a list of JSON."""

    def condition(self, columns: Columns, comparator: str, value: Value) -> Condition:
        """See `Kind.condition`."""
        if value.has_star or comparator == "!=":
            message = "policies are found by whole names"
            raise Fault(message, column=value.column, expected="= and a name without stars, or NOT before it")
        _require_equality(comparator, value)
        listed = columns[self.column]
        # The name comes first in each, and nothing else there holds quotes.
        entry = canonical.text({"name": value.text}).removesuffix("}") + ","
        return func.replace(listed, entry, "") != listed

    def present(self, columns: Columns) -> Condition:
        """See `Kind.present`."""
        return columns[self.column] != "[]"


@dataclass(frozen=True, slots=True)
class TargetName(Word):
    """The name of a target of one kind."""

    target_kind: str

    def present(self, columns: Columns) -> Condition:
        """See `Kind.present`."""
        return columns["target_kind"] == self.target_kind

    def order(self, columns: Columns) -> ColumnElement[Any]:
        """See `Kind.order`."""
        return case((self.present(columns), columns[self.column]))


def _require_equality(comparator: str, value: Value) -> None:
    if comparator not in EQUALITIES:
        raise Fault("these have no order", column=value.column, expected="= before it")


def _words(_: Scope, __: Kind, value: Value) -> Condition:
    message = "a word alone finds no promotion"
    raise Fault(message, column=value.column, expected="a field and a comparator, as state = open")


PROMOTION_FIELDS: Final = Fields(
    plain={
        "number": Own(Integer("number")),
        "sequence": Own(Integer("create_sequence")),
        "state": State(Word("state")),
        "model": Elsewhere(Rows(_M, ShortName("name"))),
        "version": Own(Integer("version_number")),
        "target.stage": Own(TargetName("target_name", "stage"), nullable=True),
        "target.alias": Own(TargetName("target_name", "alias"), nullable=True),
        "target.policy": Own(TargetName("target_name", "policy"), nullable=True),
        "policy": Several(PolicyName("policies"), nullable=True),
        "author": Own(Word("author_id")),
        "create_time": Own(Time("create_time")),
        "update_time": Own(Time("update_time")),
        "expire_time": Own(Time("expire_time")),
    },
    groups={},
    words=_words,
)
