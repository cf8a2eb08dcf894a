"""Let evaluations be imported, and events be found by the namespace and model that they concern.

Revision ID: 0007
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from steelyard_server.db.columns import BinaryText

revision = "0007"
down_revision = "0006"

PORTION_EVENTS = 1000

_EVENTS = sa.table("events", *map(sa.column, ("sequence", "content", "namespace_uid", "model_uid")))
_PORTION = (
    sa.select(_EVENTS.c.sequence, _EVENTS.c.content)
    .where(_EVENTS.c.sequence > sa.bindparam("after"))
    .order_by(_EVENTS.c.sequence)
    .limit(PORTION_EVENTS)
)
_FILL = (
    sa.update(_EVENTS)
    .where(_EVENTS.c.sequence == sa.bindparam("of"))
    .values(namespace_uid=sa.bindparam("namespace"), model_uid=sa.bindparam("model"))
)
_MODELS = "SELECT m.uid AS model, n.uid AS namespace FROM models m JOIN namespaces n ON n.id = m.namespace_id"
_NAMES = (
    "SELECT n.name, k.name_key, m.uid FROM model_names k "
    "JOIN namespaces n ON n.id = k.namespace_id JOIN models m ON m.id = k.model_id"
)


def upgrade() -> None:
    """Add the columns, and fill those of events from what the events say."""
    op.add_column("evaluations", sa.Column("origin", BinaryText(), nullable=True))
    op.add_column("evaluations", sa.Column("origin_uid", BinaryText(), nullable=True))
    _index("evaluations", "version_id", "origin_uid", given="origin_uid", unique=True)
    op.add_column("events", sa.Column("namespace_uid", BinaryText(), nullable=True))
    op.add_column("events", sa.Column("model_uid", BinaryText(), nullable=True))
    _fill_events(op.get_bind())
    _index("events", "namespace_uid", "sequence", given="namespace_uid")
    _index("events", "model_uid", "sequence", given="model_uid")


def _index(table: str, *columns: str, given: str, unique: bool = False) -> None:
    name = f"ix_{table}_{'_'.join(columns)}"
    where = sa.text(f"{given} IS NOT NULL")
    op.create_index(name, table, list(columns), unique=unique, sqlite_where=where, postgresql_where=where)


def _fill_events(connection: sa.Connection) -> None:
    namespaces = {row.model: row.namespace for row in connection.execute(sa.text(_MODELS))}
    models = {(space, key): uid for space, key, uid in connection.execute(sa.text(_NAMES))}
    for rows in _portions(connection):
        filled = []
        for row in rows:
            namespace, model = _scope(json.loads(bytes(row.content))["changes"][0], models=models)
            found = {"namespace": namespaces.get(model, namespace), "model": model}
            filled.append({"of": row.sequence, **found})
        connection.execute(_FILL, filled)


def _portions(connection: sa.Connection) -> Iterator[list[Any]]:
    after = 0
    while rows := list(connection.execute(_PORTION, {"after": after})):
        yield rows
        after = rows[-1].sequence


def _scope(change: dict[str, Any], *, models: dict[tuple[str, str], str]) -> tuple[str | None, str | None]:
    """Return the uids of namespace and model that a change concerns, as far as they can be told from it."""
    kind, _, name = change["resource"].partition("/")
    if kind == "namespace":
        return change["uid"], None
    if kind == "model":
        return None, change["uid"]
    told = (change.get("after") or {}).get("model")
    if told:
        return None, told
    # What is gone, or too large, has a name only; those of models are never used again.
    space, _, rest = name.partition("/")
    short = rest.rpartition("@" if kind == "alias" else ":")[0]
    return None, models.get((space, unicodedata.normalize("NFC", short.casefold())))
