"""Let models and versions be deleted, brought back and purged, and versions be copied.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from steelyard_server.db.columns import BinaryText

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what deletion needs; until now the newest version was always the last one."""
    _extend_models()
    _extend_versions()
    _create_tombstones()
    _create_undeletions()


def _extend_models() -> None:
    for name in ("latest_number", "delete_time", "purge_time"):
        op.add_column("models", sa.Column(name, sa.BigInteger(), nullable=True))
    op.execute("UPDATE models SET latest_number = last_number")
    with op.batch_alter_table("models") as batch:
        batch.alter_column("latest_number", nullable=False)


def _extend_versions() -> None:
    for name in ("import_time", "delete_time"):
        op.add_column("versions", sa.Column(name, sa.BigInteger(), nullable=True))
    with op.batch_alter_table("versions") as batch:
        batch.drop_constraint("uq_versions_model_id_digest", type_="unique")
        batch.create_unique_constraint("uq_versions_digest_model_id", ["digest", "model_id"])


def _create_tombstones() -> None:
    op.create_table(
        "tombstones",
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("uid", BinaryText(), nullable=False),
        sa.Column("digest", BinaryText(), nullable=False),
        sa.Column("idempotency_key", BinaryText(), nullable=True),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("delete_time", sa.BigInteger(), nullable=False),
        sa.Column("purge_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "number", name="pk_tombstones"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_tombstones_model_id"),
        sqlite_with_rowid=False,
    )
    given = sa.text("idempotency_key IS NOT NULL")
    op.create_index(
        "ix_tombstones_model_id_idempotency_key",
        "tombstones",
        ["model_id", "idempotency_key"],
        unique=True,
        sqlite_where=given,
        postgresql_where=given,
    )


def _create_undeletions() -> None:
    op.create_table(
        "undeletions",
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("delete_time", sa.BigInteger(), nullable=False),
        sa.Column("undelete_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "number", "delete_time", name="pk_undeletions"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_undeletions_model_id"),
        sqlite_with_rowid=False,
    )
