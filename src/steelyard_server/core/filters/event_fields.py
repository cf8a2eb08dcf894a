"""The fields of events, and the scope in which they are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, false, func, not_, select

from steelyard_server.core.filters.fields import Elsewhere, Fields, Own
from steelyard_server.core.filters.kinds import Columns, Condition, Integer, Kind, Text, Time, Word, read_time
from steelyard_server.core.filters.scope import Driver, Rows, Scope, probe, where
from steelyard_server.core.filters.tree import Fault, Value
from steelyard_server.core.names import INT64_MAXIMUM
from steelyard_server.db import tables

_E = tables.events.c


@dataclass(frozen=True, slots=True)
class EventScope:
    """The events that concern a namespace or a model; without either all events of the registry."""

    namespace_uid: str = ""
    model_uid: str = ""
    driver: Driver | None = None

    owner = "sequence"

    @property
    def id(self) -> ColumnElement[int]:
        """See `Scope.id`."""
        return _E.sequence

    def own(self) -> Columns:
        """See `Scope.own`."""
        return dict(_E)

    def models(self) -> Select[Any]:
        """See `Scope.models`. Nothing of events is measured."""
        return select(tables.models.c.id).where(false())

    def driven(self, _: Driver) -> EventScope:
        """See `Scope.driven`. Nothing of another table orders events."""
        return self

    def base(self) -> Select[Any]:
        """See `Scope.base`."""
        return select(_E.sequence.label("id")).where(*self.conditions())

    def conditions(self) -> list[Condition]:
        """Return what holds for the events in scope."""
        if self.model_uid:
            return [_E.model_uid == self.model_uid]
        return [_E.namespace_uid == self.namespace_uid] if self.namespace_uid else []

    def within(self, columns: Columns) -> Condition:
        """See `Scope.within`."""
        return columns["sequence"].in_(select(_E.sequence).where(*self.conditions()).correlate(None))

    def having(self, rows: Rows, condition: Condition) -> Condition:
        """See `Scope.having`."""
        if rows.probe:
            return probe(self, rows, condition)
        columns = rows.table.c
        found = select(columns.sequence).where(*rows.conditions(columns), condition)
        return _E.sequence.in_(found.correlate(None))


@dataclass(frozen=True, slots=True)
class EventTime(Own):
    """The time of an event, which never goes back: so it is compared as a range of sequences."""

    def compare(self, _: Scope, comparator: str, value: Value) -> Condition:
        """See `Field.compare`."""
        time = read_time(value)
        from_then, behind = _E.sequence >= _first(time), _E.sequence >= _first(time + 1)
        conditions = {
            "<": not_(from_then),
            "<=": not_(behind),
            ">": behind,
            ">=": from_then,
            "!=": not_(and_(from_then, not_(behind))),
        }
        return conditions.get(comparator, and_(from_then, not_(behind)))


def _first(time: int) -> ColumnElement[int]:
    """Return the sequence of the first event that is not before *time*."""
    other = tables.events.alias("timed").c
    first = select(other.sequence).where(other.event_time >= time)
    first = first.order_by(other.event_time, other.sequence).limit(1)
    return func.coalesce(first.correlate(None).scalar_subquery(), INT64_MAXIMUM)


def _words(_: Scope, __: Kind, value: Value) -> Condition:
    message = "a word alone finds no event"
    raise Fault(message, column=value.column, expected="a field and a comparator, as action = alias.set")


EVENT_FIELDS: Final = Fields(
    plain={
        "sequence": Own(Integer("sequence")),
        "time": EventTime(Time("event_time")),
        "actor": Own(Word("actor")),
        "action": Own(Word("action")),
        "resource": Elsewhere(Rows(tables.event_resources, Text("resource"))),
        "reason": Elsewhere(Rows(tables.event_texts, Text("content"), where(name="reason"), probe=True)),
    },
    groups={},
    words=_words,
)
