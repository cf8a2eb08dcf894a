"""Add tokens, groups and grants.

Revision ID: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from steelyard_server.db.columns import BinaryText, Key

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the tables, and count changes of access from none."""
    op.add_column(
        "registry", sa.Column("access_sequence", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.create_table(
        "tokens",
        sa.Column("id", Key(), nullable=False),
        *_texts("uid", "principal", "digest", "description"),
        *_integers("create_time", "expire_time"),
        sa.Column("revoke_time", sa.BigInteger(), nullable=True),
        *_texts("creator"),
        *_integers("sequence"),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("uid", name="uq_tokens_uid"),
    )
    op.create_index("ix_tokens_principal", "tokens", ["principal"])
    op.create_table(
        "groups",
        sa.Column("id", Key(), nullable=False),
        *_texts("uid", "name", "description"),
        *_integers("create_time", "update_time", "sequence"),
        sa.PrimaryKeyConstraint("id", name="pk_groups"),
        sa.UniqueConstraint("name", name="uq_groups_name"),
    )
    op.create_table(
        "group_members",
        *_integers("group_id"),
        *_texts("principal"),
        sa.PrimaryKeyConstraint("group_id", "principal", name="pk_group_members"),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_group_members_group_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_group_members_principal", "group_members", ["principal"])
    op.create_table(
        "grants",
        sa.Column("id", Key(), nullable=False),
        *_texts("uid", "subject", "role", "scope", "scope_key", "namespace", "model_key"),
        *_integers("create_time"),
        *_texts("creator"),
        *_integers("sequence"),
        sa.PrimaryKeyConstraint("id", name="pk_grants"),
        sa.UniqueConstraint("subject", "role", "scope_key", name="uq_grants_subject_role_scope_key"),
    )
    op.create_index("ix_grants_namespace_model_key", "grants", ["namespace", "model_key"])
    op.create_table(
        "token_uses",
        *_texts("uid"),
        *_integers("use_time"),
        sa.PrimaryKeyConstraint("uid", name="pk_token_uses"),
        sqlite_with_rowid=False,
    )


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, BinaryText(), nullable=False) for name in names]


def _integers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]
