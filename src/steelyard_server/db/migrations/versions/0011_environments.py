"""Add environments.

Revision ID: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from steelyard_server.db.columns import BinaryText, Key

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the table; there are none."""
    op.create_table(
        "environments",
        sa.Column("id", Key(), nullable=False),
        *_texts("uid", "name", "description", "labels", "accepts", "creator"),
        *_integers("create_time", "update_time", "sequence"),
        sa.PrimaryKeyConstraint("id", name="pk_environments"),
        sa.UniqueConstraint("name", name="uq_environments_name"),
    )


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, BinaryText(), nullable=False) for name in names]


def _integers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]
