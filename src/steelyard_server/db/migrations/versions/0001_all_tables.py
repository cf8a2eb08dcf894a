"""Create all tables and the one row that is the head of the registry.

Revision ID: 0001
"""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

from steelyard_server.db.columns import BinaryText, Key

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table, then give the registry its identity."""
    _create_blobs()
    _create_events()
    _create_manifests()
    _create_namespaces()
    _create_registry()
    _create_requests()
    _create_event_texts()
    _create_holdings()
    _create_models()
    _create_alias_moves()
    _create_model_names()
    _create_versions()
    _create_aliases()
    _create_files()
    _create_metrics()
    registry = sa.table("registry", *map(sa.column, ("id", "uid", "epoch", "sequence", "event_time")))
    head = {"id": 1, "uid": str(uuid.uuid4()), "epoch": str(uuid.uuid4()), "sequence": 0, "event_time": 0}
    op.bulk_insert(registry, [head])


def _create_blobs() -> None:
    op.create_table(
        "blobs",
        sa.Column("digest", BinaryText(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_blobs"),
    )


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("sequence", Key(), nullable=False, autoincrement=False),
        sa.Column("event_time", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_events"),
    )


def _create_manifests() -> None:
    op.create_table(
        "manifests",
        sa.Column("digest", BinaryText(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_manifests"),
    )


def _create_namespaces() -> None:
    op.create_table(
        "namespaces",
        sa.Column("id", Key(), nullable=False),
        sa.Column("uid", BinaryText(), nullable=False),
        sa.Column("name", BinaryText(), nullable=False),
        sa.Column("description", BinaryText(), nullable=False),
        sa.Column("labels", BinaryText(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_namespaces"),
        sa.UniqueConstraint("name", name="uq_namespaces_name"),
    )


def _create_registry() -> None:
    op.create_table(
        "registry",
        sa.Column("id", Key(), nullable=False, autoincrement=False),
        sa.Column("uid", BinaryText(), nullable=False),
        sa.Column("epoch", BinaryText(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("event_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_registry"),
        sa.CheckConstraint("id = 1", name=op.f("ck_registry_one_row")),
    )


def _create_requests() -> None:
    op.create_table(
        "requests",
        sa.Column("id", Key(), nullable=False),
        sa.Column("request_id", BinaryText(), nullable=False),
        sa.Column("method", BinaryText(), nullable=False),
        sa.Column("principal", BinaryText(), nullable=False),
        sa.Column("digest", BinaryText(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("expire_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_requests"),
        sa.UniqueConstraint(
            "request_id", "method", "principal", name="uq_requests_request_id_method_principal"
        ),
    )


def _create_event_texts() -> None:
    op.create_table(
        "event_texts",
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("name", BinaryText(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("content", BinaryText(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", "name", name="pk_event_texts"),
        sa.ForeignKeyConstraint(["sequence"], ["events.sequence"], name="fk_event_texts_sequence"),
        sqlite_with_rowid=False,
    )


def _create_holdings() -> None:
    op.create_table(
        "holdings",
        sa.Column("namespace_id", sa.BigInteger(), nullable=False),
        sa.Column("digest", BinaryText(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("lease_expire_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace_id", "digest", name="pk_holdings"),
        sa.ForeignKeyConstraint(["digest"], ["blobs.digest"], name="fk_holdings_digest"),
        sa.ForeignKeyConstraint(["namespace_id"], ["namespaces.id"], name="fk_holdings_namespace_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_holdings_namespace_id_size_bytes", "holdings", ["namespace_id", "size_bytes"])


def _create_models() -> None:
    op.create_table(
        "models",
        sa.Column("id", Key(), nullable=False),
        sa.Column("uid", BinaryText(), nullable=False),
        sa.Column("namespace_id", sa.BigInteger(), nullable=False),
        sa.Column("name", BinaryText(), nullable=False),
        sa.Column("description", BinaryText(), nullable=False),
        sa.Column("labels", BinaryText(), nullable=False),
        sa.Column("owners", BinaryText(), nullable=False),
        sa.Column("metric_directions", BinaryText(), nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("creator", BinaryText(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.ForeignKeyConstraint(["namespace_id"], ["namespaces.id"], name="fk_models_namespace_id"),
    )
    op.create_index("ix_models_namespace_id_name", "models", ["namespace_id", "name"])


def _create_alias_moves() -> None:
    op.create_table(
        "alias_moves",
        sa.Column("sequence", Key(), nullable=False, autoincrement=False),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("name", BinaryText(), nullable=False),
        sa.Column("action", BinaryText(), nullable=False),
        sa.Column("from_number", sa.BigInteger(), nullable=True),
        sa.Column("to_number", sa.BigInteger(), nullable=True),
        sa.Column("move_time", sa.BigInteger(), nullable=False),
        sa.Column("actor", BinaryText(), nullable=False),
        sa.Column("effective", sa.BigInteger(), nullable=True),
        sa.Column("previous", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("sequence", "model_id", "name", name="pk_alias_moves"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_alias_moves_model_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_alias_moves_model_id_name_sequence", "alias_moves", ["model_id", "name", "sequence"])


def _create_model_names() -> None:
    op.create_table(
        "model_names",
        sa.Column("namespace_id", sa.BigInteger(), nullable=False),
        sa.Column("name_key", BinaryText(), nullable=False),
        sa.Column("name", BinaryText(), nullable=False),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace_id", "name_key", name="pk_model_names"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_model_names_model_id"),
        sa.ForeignKeyConstraint(["namespace_id"], ["namespaces.id"], name="fk_model_names_namespace_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_model_names_model_id", "model_names", ["model_id"])


def _create_versions() -> None:
    op.create_table(
        "versions",
        sa.Column("id", Key(), nullable=False),
        sa.Column("uid", BinaryText(), nullable=False),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("digest", BinaryText(), nullable=False),
        sa.Column("description", BinaryText(), nullable=False),
        sa.Column("labels", BinaryText(), nullable=False),
        sa.Column("stage", BinaryText(), nullable=False),
        sa.Column("semantic_version", BinaryText(), nullable=True),
        sa.Column("idempotency_key", BinaryText(), nullable=True),
        sa.Column("origin", BinaryText(), nullable=True),
        sa.Column("summary", BinaryText(), nullable=False),
        sa.Column("details", BinaryText(), nullable=False),
        sa.Column("file_count", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("creator", BinaryText(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_versions"),
        sa.UniqueConstraint("model_id", "digest", name="uq_versions_model_id_digest"),
        sa.UniqueConstraint("model_id", "number", name="uq_versions_model_id_number"),
        sa.ForeignKeyConstraint(["digest"], ["manifests.digest"], name="fk_versions_digest"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_versions_model_id"),
    )
    for name in ("idempotency_key", "semantic_version"):
        given = sa.text(f"{name} IS NOT NULL")
        op.create_index(
            f"ix_versions_model_id_{name}",
            "versions",
            ["model_id", name],
            unique=True,
            sqlite_where=given,
            postgresql_where=given,
        )


def _create_aliases() -> None:
    op.create_table(
        "aliases",
        sa.Column("id", Key(), nullable=False),
        sa.Column("uid", BinaryText(), nullable=False),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("name", BinaryText(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_aliases"),
        sa.UniqueConstraint("model_id", "name", name="uq_aliases_model_id_name"),
        sa.ForeignKeyConstraint(
            ["model_id", "number"],
            ["versions.model_id", "versions.number"],
            name="fk_aliases_model_id_number",
        ),
    )
    op.create_index("ix_aliases_model_id_number", "aliases", ["model_id", "number"])


def _create_files() -> None:
    op.create_table(
        "files",
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("path", BinaryText(), nullable=False),
        sa.Column("digest", BinaryText(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("role", BinaryText(), nullable=False),
        sa.Column("external_uri", BinaryText(), nullable=True),
        sa.PrimaryKeyConstraint("version_id", "path", name="pk_files"),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_files_version_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_files_digest", "files", ["digest"])


def _create_metrics() -> None:
    op.create_table(
        "metrics",
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("name", BinaryText(), nullable=False),
        sa.Column("dataset", BinaryText(), nullable=False),
        sa.Column("slice", BinaryText(), nullable=False),
        sa.Column("model_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("value_text", BinaryText(), nullable=False),
        sa.PrimaryKeyConstraint("version_id", "name", "dataset", "slice", name="pk_metrics"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_metrics_model_id"),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_metrics_version_id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_metrics_model_id_name_dataset_slice_value_number",
        "metrics",
        ["model_id", "name", "dataset", "slice", "value", "number"],
    )
