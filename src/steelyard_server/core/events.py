"""Events: reading the history of a namespace or a model. ``history/events.py`` writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import bindparam, func, select

from steelyard_server.core import models, names, namespaces, pages
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of
from steelyard_server.errors import FieldRequired

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Select

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
_TEXTS = select(tables.event_texts).where(any_of(_T.sequence, "sequences")).order_by(_T.sequence, _T.name)


def _page_of(column: ColumnElement[Any]) -> Select[Any]:
    """Select the events whose *column* is the uid `scope`."""
    return (
        select(tables.events, _CHARACTERS)
        .where(column == bindparam("scope"), _E.sequence > bindparam("after"))
        .order_by(_E.sequence)
        .limit(bindparam("limit"))
    )


_OF_NAMESPACE, _OF_MODEL = _page_of(_E.namespace_uid), _page_of(_E.model_uid)


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


def page(
    tx: Transaction, *, scope: str, after: int | None = None, page_size: int = 0
) -> tuple[list[Event], bool]:
    """Return the events of a scope that follow the sequence *after*, and whether more follow.

    Args:
        scope: `namespace`, or `namespace/model`.

    Raises:
        NamespaceNotFound, ModelNotFound: there is none of this name.
    """
    statement, uid = _scope(tx, scope)
    rows, more = pages.take(
        tx,
        statement,
        after={"after": after or 0},
        key=lambda row: {"after": row.sequence},
        size_bytes=lambda row: len(row.content) + int(row.text_characters) * CHARACTER_BYTES_MAXIMUM + 512,
        rows_maximum=pages.page_size(page_size),
        values={"scope": uid},
    )
    texts = _texts(tx, [row.sequence for row in rows])
    return [_value(row, texts=texts.get(row.sequence, ())) for row in rows], more


def _scope(tx: Transaction, scope: str) -> tuple[Select[Any], str]:
    """Return the statement for a scope, and the uid that it asks for."""
    if not scope:
        raise FieldRequired("`scope` is empty; name a namespace, or namespace/model.", field="scope")
    if "/" in scope:
        return _OF_MODEL, models.find(tx, name=scope, field="scope", deleted=True).uid
    names.namespace(scope, field="scope")
    return _OF_NAMESPACE, namespaces.find(tx, name=scope).uid


def _texts(tx: Transaction, sequences: list[int]) -> dict[int, list[Text]]:
    found: dict[int, list[Text]] = {}
    for row in tx.all(_TEXTS, sequences=sequences):
        found.setdefault(row.sequence, []).append(Text(row.name, bytes(row.salt), row.content))
    return found


def _value(row: Row, *, texts: Sequence[Text]) -> Event:
    content = bytes(row.content)
    told = orjson.loads(content)
    return Event(row.sequence, row.event_time, told["actor"], told["action"], content, texts)
