"""Let blobs be condemned and verified.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add both times, which no blob has yet, and what finds blobs by them and their holders."""
    op.add_column("blobs", sa.Column("condemn_time", sa.BigInteger(), nullable=True))
    op.add_column("blobs", sa.Column("verify_time", sa.BigInteger(), nullable=True))
    given = sa.text("condemn_time IS NOT NULL")
    op.create_index("ix_blobs_digest", "blobs", ["digest"], sqlite_where=given, postgresql_where=given)
    op.create_index("ix_holdings_digest", "holdings", ["digest"])
