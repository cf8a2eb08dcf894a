"""Let namespaces have quotas and retention, and count what each of them uses.

Revision ID: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

COUNT = """
INSERT INTO namespace_usages (namespace_id, size_bytes, versions_count)
SELECT namespaces.id,
    (SELECT coalesce(sum(holdings.size_bytes), 0) FROM holdings WHERE holdings.namespace_id = namespaces.id),
    (
        SELECT count(*) FROM versions JOIN models ON models.id = versions.model_id
        WHERE models.namespace_id = namespaces.id
    )
FROM namespaces
"""


COLUMNS = (
    *("quota_size_bytes", "quota_versions_count"),
    *("retention_keep_versions_count", "retention_keep_seconds", "retention_purge_after_seconds"),
)


def upgrade() -> None:
    """Allow any amount and keep everything, as before, and count what is there."""
    for name in COLUMNS:
        op.add_column("namespaces", sa.Column(name, sa.BigInteger(), nullable=True))
    namespaces = sa.table("namespaces", *(sa.column(name) for name in COLUMNS))
    op.execute(namespaces.update().values(dict.fromkeys(COLUMNS, 0)))
    with op.batch_alter_table("namespaces") as batch:
        for name in COLUMNS:
            batch.alter_column(name, nullable=False)
    op.create_table(
        "namespace_usages",
        sa.Column("namespace_id", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("versions_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace_id", name="pk_namespace_usages"),
        sa.ForeignKeyConstraint(["namespace_id"], ["namespaces.id"], name="fk_namespace_usages_namespace_id"),
        sqlite_with_rowid=False,
    )
    op.execute(COUNT)
