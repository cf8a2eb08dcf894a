"""Add what filters look at, and fill it from the versions and models that exist.

Revision ID: 0005
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
import sqlalchemy as sa
from alembic import op

from steelyard_server.db import search_keys
from steelyard_server.db.columns import BinaryText

revision = "0005"
down_revision = "0004"

# Rows may carry a manifest of 512 KiB.
BATCH = 64
Row = Mapping[str, Any]
Rows = Iterator[tuple[str, dict[str, Any]]]
FACT_KEYS: dict[str, Callable[[str], str | None]] = {
    "semantic_version": search_keys.semantic_version,
    "origin.create_time": search_keys.time,
}


def upgrade() -> None:
    """Create tables, a column and an index, then fill them."""
    _add_creators()
    _create_of_versions()
    _create_of_models()
    _fill("versions", _of_version)
    _fill("models", _of_model)


def _add_creators() -> None:
    # Unique, so that a list by name of model and number needs no sorting.
    op.drop_index("ix_models_namespace_id_name", "models")
    op.create_index("ix_models_namespace_id_name", "models", ["namespace_id", "name"], unique=True)
    for table in ("models", "versions"):
        op.add_column(table, sa.Column("creator_id", BinaryText(), nullable=False, server_default=""))
    listed = ["model_id", "number", "stage", "creator_id", "create_time", "update_time", "size_bytes"]
    op.create_index("ix_versions_listed", "versions", [*listed, "file_count", "delete_time"])


def _create(table: str, *columns: sa.Column[Any], key: list[str], indexes: list[list[str]]) -> None:
    """Create *table* of one owner a row, ordered by its key, with what its indexes begin with."""
    owner = key[0]
    scope = "model_id" if owner == "version_id" else "namespace_id"
    parents = {owner: f"{owner.removesuffix('_id')}s.id", scope: f"{scope.removesuffix('_id')}s.id"}
    # Columns of the key first: SQLite 3.40 takes others before them for NULL when it checks such a table.
    every = [*map(_integer, parents), *columns]
    every.sort(key=lambda column: key.index(column.name) if column.name in key else len(key))
    op.create_table(
        table,
        *every,
        sa.PrimaryKeyConstraint(*key, name=f"pk_{table}"),
        *(
            sa.ForeignKeyConstraint([name], [target], name=f"fk_{table}_{name}")
            for name, target in parents.items()
        ),
        sqlite_with_rowid=False,
    )
    for rest in indexes:
        op.create_index(f"ix_{table}_{'_'.join([scope, *rest])}", table, [scope, *rest])


def _text(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, BinaryText(), nullable=nullable)


def _integer(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _create_of_versions() -> None:
    for table in ("version_labels", "parameters", "version_facts"):
        optional = table == "parameters"
        _create(
            table,
            _text("name"),
            _integer("number"),
            _text("value_key", nullable=optional),
            _text("value", nullable=optional),
            key=["version_id", "name"],
            indexes=[["name", "value_key", "number"]],
        )
    _create(
        "datasets",
        _integer("position"),
        _integer("number"),
        *map(_text, ("name", "version", "uri", "digest", "role")),
        key=["version_id", "position"],
        indexes=[["digest", "number"], ["name", "number"]],
    )
    _create(
        "parents",
        _integer("position"),
        _integer("number"),
        *map(_text, ("relation", "digest", "uri")),
        key=["version_id", "position"],
        indexes=[["digest", "number"]],
    )
    _create(
        "schema_fields",
        _text("side"),
        _integer("position"),
        _integer("number"),
        *map(_text, ("name", "type")),
        key=["version_id", "side", "position"],
        indexes=[["side", "name", "number"]],
    )
    _create(
        "version_words",
        _text("word"),
        _integer("number"),
        key=["version_id", "word"],
        indexes=[["word", "number"]],
    )


def _create_of_models() -> None:
    _create(
        "model_labels",
        *map(_text, ("name", "value_key", "value")),
        key=["model_id", "name"],
        indexes=[["name", "value_key"]],
    )
    _create("model_owners", _text("owner"), key=["model_id", "owner"], indexes=[["owner"]])
    _create("model_directions", *map(_text, ("name", "value")), key=["model_id", "name"], indexes=[["name"]])
    _create(
        "model_words", *map(_text, ("field", "word")), key=["model_id", "field", "word"], indexes=[["word"]]
    )


def _fill(table: str, rows_of: Any) -> None:
    """Derive the rows of each row of *table*, in batches."""
    connection = op.get_bind()
    last = 0
    # Both tables are named above.
    portion = sa.text(f"SELECT * FROM {table} WHERE id > :last ORDER BY id LIMIT {BATCH}")  # noqa: S608
    put_creator = sa.text(f"UPDATE {table} SET creator_id = :creator_id WHERE id = :row")  # noqa: S608
    while found := connection.execute(portion, {"last": last}).mappings().all():
        derived: dict[str, list[dict[str, Any]]] = {}
        for row in found:
            for target, values in rows_of(row):
                derived.setdefault(target, []).append(values)
        for target, rows in derived.items():
            op.bulk_insert(sa.table(target, *map(sa.column, rows[0])), rows)
        connection.execute(
            put_creator, [{"row": row["id"], "creator_id": _creator(row["creator"])} for row in found]
        )
        last = found[-1]["id"]


def _creator(text: str) -> str:
    """Return who made it; of a purged model nobody is known."""
    creator: str = orjson.loads(text).get("id", "")
    return creator


def _of_version(row: Row) -> Rows:
    owner = {"version_id": row["id"], "model_id": row["model_id"], "number": row["number"]}
    summary, details = orjson.loads(row["summary"]), orjson.loads(row["details"])
    for name, value in orjson.loads(row["labels"]).items():
        yield "version_labels", {**owner, "name": name, "value_key": search_keys.cut(value), "value": value}
    for parameter in details.get("parameters", ()):
        value = _parameter(parameter)
        text = value if isinstance(value, str) else None
        yield "parameters", {
            **owner, "name": parameter["name"], "value_key": search_keys.parameter(value), "value": text
        }  # fmt: skip
    for name, value in _facts(row, summary).items():
        key = FACT_KEYS.get(name, search_keys.cut)(value)
        yield "version_facts", {**owner, "name": name, "value_key": key, "value": value}
    for table, names in (("datasets", ("name", "version", "uri", "digest", "role")),
                         ("parents", ("relation", "digest", "uri"))):  # fmt: skip
        for position, each in enumerate(summary.get(table, ())):
            yield table, {**owner, "position": position} | {name: each.get(name, "") for name in names}
    for side, fields in details.get("schema", {}).items():
        for position, each in enumerate(fields):
            place = {"side": side, "position": position}
            yield "schema_fields", {**owner, **place, "name": each["name"], "type": each["type"]}
    for word in sorted(set(search_keys.words(row["description"]))):
        yield "version_words", {**owner, "word": word}


def _parameter(member: Row) -> str | float | bool:
    if "integer" in member:
        return int(member["integer"])
    if "real" in member:
        return float(member["real"])
    found: str | bool = member["boolean"] if "boolean" in member else member["text"]
    return found


def _facts(row: Row, summary: Row) -> dict[str, str]:
    found = {"semantic_version": row["semantic_version"]}
    for group in ("framework", "source"):
        found |= {f"{group}.{name}": value for name, value in summary.get(group, {}).items()}
    if "source.dirty" in found:
        found["source.dirty"] = "true" if found["source.dirty"] else "false"
    origin = orjson.loads(row["origin"]) if row["origin"] else {}
    found |= {f"origin.{name}": value for name, value in origin.items()}
    return {name: value for name, value in found.items() if value}


def _of_model(row: Row) -> Rows:
    if row["purge_time"] is not None:
        return
    owner = {"model_id": row["id"], "namespace_id": row["namespace_id"]}
    for name, value in orjson.loads(row["labels"]).items():
        yield "model_labels", {**owner, "name": name, "value_key": search_keys.cut(value), "value": value}
    for each in orjson.loads(row["owners"]):
        yield "model_owners", {**owner, "owner": each}
    for name, value in orjson.loads(row["metric_directions"]).items():
        yield "model_directions", {**owner, "name": name, "value": value}
    for field in ("name", "description"):
        for word in sorted(set(search_keys.words(row[field]))):
            yield "model_words", {**owner, "field": field, "word": word}
