"""Events: finding them in the history, and following it. ``history/events.py`` writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import bindparam, func, select

from steelyard_server.core import models, names, namespaces, pages
from steelyard_server.core.filters import search
from steelyard_server.core.filters.choices import Choices
from steelyard_server.core.filters.conditions import Conditions
from steelyard_server.core.filters.event_fields import EVENT_FIELDS, EventScope
from steelyard_server.core.filters.search import Listing
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of
from steelyard_server.history import events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Select

    from steelyard_server.core.filters.search import Position
    from steelyard_server.db.database import Row, Transaction

# A character of a text has at most so many bytes.
CHARACTER_BYTES_MAXIMUM = 4

_E, _T = tables.events.c, tables.event_texts.c
_CHARACTERS = (
    select(func.coalesce(func.sum(func.length(_T.content)), 0))
    .where(_T.sequence == _E.sequence)
    .scalar_subquery()
    .label("text_characters")
)
_ALL = select(_E.sequence.label("id"), tables.events, _CHARACTERS)
_PAGE = _ALL.where(any_of(_E.sequence, "ids"))
_TEXTS = select(tables.event_texts).where(any_of(_T.sequence, "sequences")).order_by(_T.sequence, _T.name)


@dataclass(frozen=True, slots=True)
class Text:
    """A text that an event binds by a salted hash."""

    name: str
    salt: bytes
    content: str


@dataclass(frozen=True, slots=True)
class Event:
    """An event; its time is in microseconds, `content` are its bytes."""

    sequence: int
    time: int
    actor: Mapping[str, Any]
    action: str
    content: bytes
    texts: Sequence[Text]


@dataclass(frozen=True, slots=True)
class Portion:
    """What follows a sequence, as one snapshot has it.

    Args:
        events: the next of them.
        reached: up to here there are no others.
        access_sequence: of the last change of who may do what.
    """

    events: list[Event]
    reached: int
    access_sequence: int


@dataclass(frozen=True, slots=True)
class Followed:
    """Events to ask for again and again.

    Args:
        statement: finds those that follow the bind `after`, at most `limit`.
    """

    scope: EventScope
    filter: str
    statement: Select[Any]


def page(
    tx: Transaction,
    *,
    scope: str = "",
    filter: str = "",  # noqa: A002 - as the request calls it
    order_by: str = "",
    after: Position | None = None,
    page_size: int = 0,
) -> tuple[list[Event], Position | None]:
    """Return events that pass a filter, and the position behind them; None when nothing follows.

    Args:
        scope: `namespace`, or `namespace/model`; empty for the whole registry.

    Raises:
        NamespaceNotFound, ModelNotFound: there is none of this name.
        FilterInvalid, OrderByInvalid, TooLong: with the column where one stands.
        PageTokenInvalid: *after* is no position in this list.
    """
    found = search.page(
        tx,
        Listing(EVENT_FIELDS, _scope(tx, scope), ("sequence",)),
        statement=_PAGE,
        size_bytes=_size_bytes,
        page_size=page_size,
        filter=filter,
        order_by=order_by,
        after=after,
    )
    return _values(tx, found.entries), found.position


def follow(tx: Transaction, *, scope: str, filter: str) -> Followed:  # noqa: A002 - as the request calls it
    """Make what `following` asks for from a scope and a filter.

    A scope stays what it is: of a namespace that is deleted, and made anew, nothing more comes.

    Raises:
        NamespaceNotFound, ModelNotFound, FilterInvalid, TooLong: as `page`.
    """
    found = _scope(tx, scope)
    _, condition = search.passing(Conditions(EVENT_FIELDS, Choices(tx, found)), found, filter=filter)
    behind = (*found.conditions(), _E.sequence > bindparam("after"))
    statement = _ALL.where(*behind, condition).order_by(_E.sequence).limit(bindparam("limit"))
    return Followed(found, filter, statement)


def following(
    tx: Transaction, followed: Followed, *, after: int, rows_maximum: int, bytes_maximum: int
) -> Portion:
    """Return the next events behind the sequence *after*.

    Args:
        bytes_maximum: of all of them, unless the first alone has more.
    """
    rows, more = pages.take(
        tx,
        followed.statement,
        after={"after": after},
        key=lambda row: {"after": row.sequence},
        size_bytes=_size_bytes,
        rows_maximum=rows_maximum,
        bytes_maximum=bytes_maximum,
        values={},
    )
    # The snapshot is that of the rows, so nothing lies between them and the head.
    head = events.head(tx)
    reached = rows[-1].sequence if more else max(after, head.sequence)
    return Portion(_values(tx, rows), reached, head.access_sequence)


def _scope(tx: Transaction, scope: str) -> EventScope:
    if not scope:
        return EventScope()
    if "/" in scope:
        return EventScope(model_uid=models.find(tx, name=scope, field="scope", deleted=True).uid)
    names.namespace(scope, field="scope")
    return EventScope(namespace_uid=namespaces.find(tx, name=scope).uid)


def _size_bytes(row: Row) -> int:
    """Estimate what an event adds to an answer."""
    return len(row.content) + int(row.text_characters) * CHARACTER_BYTES_MAXIMUM + 512


def _values(tx: Transaction, rows: Sequence[Row]) -> list[Event]:
    texts: dict[int, list[Text]] = {}
    for row in tx.all(_TEXTS, sequences=[row.sequence for row in rows]):
        texts.setdefault(row.sequence, []).append(Text(row.name, bytes(row.salt), row.content))
    return [_value(row, texts=texts.get(row.sequence, ())) for row in rows]


def _value(row: Row, *, texts: Sequence[Text]) -> Event:
    content = bytes(row.content)
    actor = orjson.loads(content)["actor"]
    return Event(row.sequence, row.event_time, actor, row.action, content, texts)
