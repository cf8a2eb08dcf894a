"""Create the tables of evaluations.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from steelyard_server.db.columns import BinaryText, Key

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create both tables empty: nothing was evaluated before."""
    _create_evaluations()
    _create_evaluated_metrics()


def _create_evaluations() -> None:
    op.create_table(
        "evaluations",
        sa.Column("id", Key(), nullable=False),
        sa.Column("uid", BinaryText(), nullable=False),
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("metrics", BinaryText(), nullable=False),
        sa.Column("datasets", BinaryText(), nullable=False),
        sa.Column("evaluate_time", sa.BigInteger(), nullable=False),
        sa.Column("uri", BinaryText(), nullable=False),
        sa.Column("report_path", BinaryText(), nullable=True),
        sa.Column("report_digest", BinaryText(), nullable=True),
        sa.Column("report_size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("report_role", BinaryText(), nullable=True),
        sa.Column("description", BinaryText(), nullable=False),
        sa.Column("evaluator", BinaryText(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_evaluations"),
        sa.UniqueConstraint("uid", name="uq_evaluations_uid"),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_evaluations_version_id"),
    )
    op.create_index(
        "ix_evaluations_version_id_evaluate_time_sequence",
        "evaluations",
        ["version_id", "evaluate_time", "sequence"],
    )
    given = sa.text("report_digest IS NOT NULL")
    op.create_index(
        "ix_evaluations_report_digest",
        "evaluations",
        ["report_digest"],
        sqlite_where=given,
        postgresql_where=given,
    )


def _create_evaluated_metrics() -> None:
    op.create_table(
        "evaluated_metrics",
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("name", BinaryText(), nullable=False),
        sa.Column("dataset", BinaryText(), nullable=False),
        sa.Column("slice", BinaryText(), nullable=False),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("value_text", BinaryText(), nullable=False),
        sa.Column("evaluation_id", sa.BigInteger(), nullable=False),
        sa.Column("evaluate_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("version_id", "name", "dataset", "slice", name="pk_evaluated_metrics"),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluations.id"], name="fk_evaluated_metrics_evaluation_id"
        ),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_evaluated_metrics_model_id"),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_evaluated_metrics_version_id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_evaluated_metrics_model_id_name_dataset_slice_value_number",
        "evaluated_metrics",
        ["model_id", "name", "dataset", "slice", "value", "number"],
    )
    op.create_index("ix_evaluated_metrics_evaluation_id", "evaluated_metrics", ["evaluation_id"])
