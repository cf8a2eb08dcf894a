"""Let events be found by who did what to which resource, and when.

Revision ID: 0009
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from steelyard_server.db.columns import BinaryText

revision = "0009"
down_revision = "0008"

PORTION_EVENTS = 1000

_EVENTS = sa.table("events", *map(sa.column, ("sequence", "content", "actor", "action")))
_RESOURCES = sa.table("event_resources", sa.column("resource"), sa.column("sequence"))
_PORTION = (
    sa.select(_EVENTS.c.sequence, _EVENTS.c.content)
    .where(_EVENTS.c.sequence > sa.bindparam("after"))
    .order_by(_EVENTS.c.sequence)
    .limit(PORTION_EVENTS)
)
_FILL = (
    sa.update(_EVENTS)
    .where(_EVENTS.c.sequence == sa.bindparam("of"))
    .values(actor=sa.bindparam("by"), action=sa.bindparam("did"))
)


def upgrade() -> None:
    """Add columns and table, and fill them from what the events say."""
    for name in ("actor", "action"):
        # With a default SQLite need not copy the whole history, which may be the largest table.
        op.add_column("events", sa.Column(name, BinaryText(), nullable=False, server_default=""))
    op.create_table(
        "event_resources",
        sa.Column("resource", BinaryText(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("resource", "sequence", name="pk_event_resources"),
        sqlite_with_rowid=False,
    )
    _fill(op.get_bind())
    for name in ("actor", "action", "event_time"):
        op.create_index(f"ix_events_{name}_sequence", "events", [name, "sequence"])


def _fill(connection: sa.Connection) -> None:
    for rows in _portions(connection):
        told = [(row.sequence, json.loads(bytes(row.content))) for row in rows]
        filled = [
            {"of": sequence, "by": event["actor"]["id"], "did": event["action"]} for sequence, event in told
        ]
        changed = dict.fromkeys(
            (change["resource"], sequence) for sequence, event in told for change in event["changes"]
        )
        connection.execute(_FILL, filled)
        resources = [{"resource": resource, "sequence": sequence} for resource, sequence in changed]
        connection.execute(sa.insert(_RESOURCES), resources)


def _portions(connection: sa.Connection) -> Iterator[list[Any]]:
    after = 0
    while rows := list(connection.execute(_PORTION, {"after": after})):
        yield rows
        after = rows[-1].sequence
