"""Appending events: who changed what, in the transaction that changes it.

A use case takes its :class:`Stamp` when it begins to write and calls :func:`append` last. On
PostgreSQL the stamp locks the head row until the commit, so the order of sequences is the order
of commits; on SQLite the single writer gives the same.

An event is canonical JSON: ``{format, registry, sequence, time, actor, action, request, reason,
changes: [{resource, uid, previous, after}]}``. `previous` is the sequence of the last change of
that resource. Free text never stands in an event: a salted hash does, and the text lies in
``event_texts``, where it can be erased without breaking the history. The same holds for an
`after` of more than 16 KiB, which becomes ``after_digest``, and for the largest of several that
would make an event of more than 64 KiB.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, case, insert, select, update

from steelyard_server.db import tables
from steelyard_server.errors import SequenceInFuture
from steelyard_server.history import canonical

if TYPE_CHECKING:
    from steelyard_server.db.database import Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.canonical import Json

EVENT_BYTES_MAXIMUM = 64 * 1024
AFTER_BYTES_MAXIMUM = 16 * 1024
# What stands in an event beside its changes, at most: actor, request and names.
FRAME_BYTES_MAXIMUM = 4 * 1024
# What stands for a text, or for a large after-state.
HASH_TEXT = "sha256:" + 64 * "0"
# What stands in an event for a state that does not: the name of the field, and a hash.
DIGEST_BYTES = 90
# Without a zone, which would be written; all times are UTC.
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001

_HEAD = tables.registry
_TAKE = (
    update(_HEAD)
    .where(_HEAD.c.id == 1)
    .values(
        sequence=_HEAD.c.sequence + 1,
        event_time=case((_HEAD.c.event_time > bindparam("now"), _HEAD.c.event_time), else_=bindparam("now")),
    )
    .returning(_HEAD.c.sequence, _HEAD.c.event_time, _HEAD.c.uid)
)
_SEEN = select(_HEAD.c.sequence, _HEAD.c.uid, _HEAD.c.epoch, _HEAD.c.access_sequence).where(_HEAD.c.id == 1)
_LOCK_HEAD = select(_HEAD.c.id).where(_HEAD.c.id == 1).with_for_update()
_INSERT = insert(tables.events)
_INSERT_TEXT = insert(tables.event_texts)
_INSERT_RESOURCE = insert(tables.event_resources)


@dataclass(frozen=True, slots=True)
class Stamp:
    """Sequence and time of the event that a transaction is about to append."""

    sequence: int
    time: int
    registry: str


@dataclass(frozen=True, slots=True)
class Head:
    """Where the history of a registry stands; the epoch is new after a restore.

    `access_sequence` is that of the last change of who may do what.
    """

    registry: str
    epoch: str
    sequence: int
    access_sequence: int


@dataclass(frozen=True, slots=True)
class Text:
    """Free text in an after-state: hashed in the event, kept beside it."""

    content: str


@dataclass(frozen=True, slots=True)
class Scope:
    """The namespace and the model that something is or is in; empty for none."""

    namespace_uid: str = ""
    model_uid: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What one event did to one resource.

    Args:
        resource: kind and name for people, for example ``alias/risk/fraud@champion``.
        uid: identifier of the resource.
        previous: sequence of its last change, 0 for a new one.
        after: its mutable state and what identifies it; None when it was deleted.
        scope: whose history it belongs to.
        answered: whether answers about the model tell of it, so that those remembered are out of date.
    """

    resource: str
    uid: str
    previous: int
    after: Mapping[str, Json | Text] | None
    scope: Scope
    answered: bool = True


@dataclass(frozen=True, slots=True)
class Committed:
    """Tell listeners which event was committed and which models it touched."""

    sequence: int
    model_uids: frozenset[str]


@dataclass(slots=True)
class _Texts:
    """Collect the texts that stand beside one event."""

    sequence: int
    rows: list[dict[str, object]] = field(default_factory=list)

    def put(self, name: str, content: str) -> str:
        """Keep *content* beside the event and return the salted hash that binds it; nothing stays empty."""
        if not content:
            return ""
        salt = os.urandom(16)
        self.rows.append({"sequence": self.sequence, "name": name, "salt": salt, "content": content})
        return "sha256:" + hashlib.sha256(salt + content.encode()).hexdigest()


def now() -> int:
    """Return the time in microseconds."""
    return time.time_ns() // 1000


def stamp(tx: Transaction) -> Stamp:
    """Take the next sequence, and a time that is never before that of the last event."""
    row = tx.one(_TAKE, now=now())
    if row is None:
        raise RuntimeError("The registry row is missing; the database was not set up by this server.")
    return Stamp(sequence=row.sequence, time=row.event_time, registry=row.uid)


def lock_head(tx: Transaction) -> None:
    """Let no event be appended by another transaction until the commit, without making one."""
    tx.one(_LOCK_HEAD)


def head(tx: Transaction) -> Head:
    """Return where the history stands in this transaction."""
    row = tx.one(_SEEN)
    if row is None:
        raise RuntimeError("The registry row is missing; the database was not set up by this server.")
    return Head(row.uid, row.epoch, row.sequence, row.access_sequence)


def seen(tx: Transaction, *, minimum_sequence: int = 0) -> int:
    """Return the sequence that this transaction sees.

    Raises:
        SequenceInFuture: it is below *minimum_sequence*.
    """
    return seen_head(tx, minimum_sequence=minimum_sequence).sequence


def seen_head(tx: Transaction, *, minimum_sequence: int) -> Head:
    """Return where the history stands in this transaction.

    Raises:
        SequenceInFuture: it is below *minimum_sequence*.
    """
    found = head(tx)
    if found.sequence < minimum_sequence:
        message = f"The registry is at sequence {found.sequence}, which is before {minimum_sequence}."
        raise SequenceInFuture(message, sequence=found.sequence)
    return found


def append(tx: Transaction, act: Act, at: Stamp, *, action: str, changes: Sequence[Change]) -> int:
    """Append the event of this transaction and return its sequence.

    Args:
        at: the stamp that the changed rows carry.
        action: noun and verb, for example ``alias.set``.
        changes: at least one, at most Limits.batch_create_count; all of one scope.
    """
    texts = _Texts(at.sequence)
    entries = [_change(change, index=index, texts=texts) for index, change in enumerate(changes)]
    event: dict[str, Json] = {
        "format": "1",
        "registry": at.registry,
        "sequence": str(at.sequence),
        "time": time_text(at.time),
        "actor": act.caller.as_json(),
        "action": action,
        "changes": entries,
    }
    if act.request is not None:
        event["request"] = act.request.as_json()
    if act.reason:
        event["reason"] = texts.put("reason", act.reason)
    content = canonical.encode(event)
    if len(content) > AFTER_BYTES_MAXIMUM:
        _shrink(entries, excess_bytes=len(content) - EVENT_BYTES_MAXIMUM, texts=texts)
        content = canonical.encode(event)
    row = {"sequence": at.sequence, "event_time": at.time, "content": content}
    tx.run(_INSERT, row | _found_by(act, action=action, scope=changes[0].scope))
    if texts.rows:
        tx.run(_INSERT_TEXT, texts.rows)
    for resource in dict.fromkeys(change.resource for change in changes):
        tx.run(_INSERT_RESOURCE, {"resource": resource, "sequence": at.sequence})
    answered = frozenset(change.scope.model_uid for change in changes if change.answered)
    tx.after_commit(Committed(at.sequence, answered))
    return at.sequence


def _found_by(act: Act, *, action: str, scope: Scope) -> dict[str, str | None]:
    """Return the columns by which an event is found."""
    return {
        "namespace_uid": scope.namespace_uid or None,
        "model_uid": scope.model_uid or None,
        "actor": act.caller.id,
        "action": action,
    }


def fitting(changes: Sequence[Change]) -> int:
    """Return how many of *changes*, from the first on, one event holds; that is one at least."""
    total_bytes = FRAME_BYTES_MAXIMUM
    for count, change in enumerate(changes):
        total_bytes += _size_bytes(change)
        if total_bytes > EVENT_BYTES_MAXIMUM:
            return max(count, 1)
    return len(changes)


def _size_bytes(change: Change) -> int:
    after: Mapping[str, Json] | None = None
    if change.after is not None:
        after = {
            name: HASH_TEXT if isinstance(value, Text) else value for name, value in change.after.items()
        }
    entry = {"resource": change.resource, "uid": change.uid, "previous": str(change.previous)}
    size_bytes = len(canonical.encode(after))
    # The names and signs of the entry, and the comma behind it.
    return len(canonical.encode(entry)) + min(size_bytes, AFTER_BYTES_MAXIMUM) + 32


def _change(change: Change, *, index: int, texts: _Texts) -> dict[str, Json]:
    after: dict[str, Json] | None = None
    if change.after is not None:
        after = {
            name: texts.put(f"changes.{index}.{name}", value.content) if isinstance(value, Text) else value
            for name, value in change.after.items()
        }
    return {
        "resource": change.resource,
        "uid": change.uid,
        "previous": str(change.previous),
        "after": after,
    }


def _shrink(entries: list[dict[str, Json]], *, excess_bytes: int, texts: _Texts) -> None:
    """Put after-states beside the event: large ones always, and the largest until no byte is too many."""
    states = [canonical.text(entry["after"]) for entry in entries]
    sizes_bytes = [len(state.encode()) for state in states]
    for index in sorted(range(len(entries)), key=sizes_bytes.__getitem__, reverse=True):
        if sizes_bytes[index] <= AFTER_BYTES_MAXIMUM and excess_bytes <= 0:
            return
        smaller = {name: value for name, value in entries[index].items() if name != "after"}
        entries[index] = smaller | {"after_digest": texts.put(f"changes.{index}", states[index])}
        excess_bytes -= sizes_bytes[index] - DIGEST_BYTES


def time_text(microseconds: int) -> str:
    """Write a time as RFC 3339 in UTC with six decimals."""
    return (EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds") + "Z"
