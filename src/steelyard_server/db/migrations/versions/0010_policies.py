"""Add policies and promotions, stages of namespaces, and marks of versions.

Revision ID: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from steelyard_server.db.columns import BinaryText, Key

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the tables; namespaces have the usual stages."""
    op.add_column("namespaces", sa.Column("stages", BinaryText(), nullable=False, server_default="[]"))
    op.add_column("versions", sa.Column("marks", BinaryText(), nullable=True))
    op.create_table(
        "policies",
        sa.Column("id", Key(), nullable=False),
        *_texts("uid"),
        *_integers("namespace_id"),
        *_texts("name"),
        *_integers("revision"),
        *_texts("target_kind", "target_name", "description", "content", "creator"),
        *_integers("create_time", "update_time", "sequence"),
        sa.PrimaryKeyConstraint("id", name="pk_policies"),
        sa.UniqueConstraint("namespace_id", "name", name="uq_policies_namespace_id_name"),
        sa.ForeignKeyConstraint(["namespace_id"], ["namespaces.id"], name="fk_policies_namespace_id"),
    )
    op.create_index(
        "ix_policies_namespace_id_target_kind_target_name",
        "policies",
        ["namespace_id", "target_kind", "target_name"],
    )
    op.create_table(
        "promotions",
        sa.Column("id", Key(), nullable=False),
        *_texts("uid"),
        *_integers("namespace_id", "model_id", "number"),
        *_texts("target_kind", "target_name"),
        *_integers("version_number"),
        *_texts("state", "ended", "policies", "content", "author_id", "author"),
        *_integers("create_time", "update_time", "expire_time", "create_sequence", "sequence"),
        sa.PrimaryKeyConstraint("id", name="pk_promotions"),
        sa.UniqueConstraint(
            "namespace_id", "model_id", "number", name="uq_promotions_namespace_id_model_id_number"
        ),
        sa.ForeignKeyConstraint(["namespace_id"], ["namespaces.id"], name="fk_promotions_namespace_id"),
    )
    op.create_index(
        "ix_promotions_model_id_target_kind_target_name_id",
        "promotions",
        ["model_id", "target_kind", "target_name", "id"],
    )
    for columns in ((), ("model_id",), ("state",), ("author_id",)):
        within = ["namespace_id", *columns, "create_sequence"]
        op.create_index("_".join(["ix_promotions", *within]), "promotions", within)
    of_target = ["namespace_id", "target_kind", "target_name", "create_sequence"]
    op.create_index("ix_promotions_namespace_target", "promotions", of_target)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, BinaryText(), nullable=False) for name in names]


def _integers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]
