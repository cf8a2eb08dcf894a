"""The schema that migrations make is the one that the tables say, on both databases."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select, text, update

from steelyard_server.db import migrations, tables
from steelyard_server.db.database import Database, Transaction, open_database
from steelyard_server.db.migrations.upgrade import alembic_config

Open = Callable[..., Awaitable[Database]]

REOPEN = """
import asyncio, sys
from pathlib import Path
from steelyard_server.db.database import open_database
asyncio.run(open_database(Path(sys.argv[1])))
print(sorted({"alembic", "psycopg"} & set(sys.modules)))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_location(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Name a database without tables; the SQLite file does not exist yet."""
    if request.param == "sqlite":
        return tmp_path / "new.db"
    return request.getfixturevalue("cluster").create_empty()


@contextmanager
def connected(location: str | Path) -> Iterator[sqlalchemy.Connection]:
    """Connect with SQLAlchemy, to look at the schema."""
    url = f"sqlite:///{location}" if isinstance(location, Path) else location.replace("://", "+psycopg://")
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def heads(tx: Transaction) -> list[tuple[int, str, str]]:
    return [(row.sequence, row.uid, row.epoch) for row in tx.all(select(tables.registry))]


def test_the_migrated_schema_is_that_of_the_tables(location: str | Path) -> None:
    with connected(location) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.Base.metadata) == []


def test_no_table_ends_as_sqlite_cannot_check_it(sqlite_path: Path) -> None:
    """Where the last column is of the key, integrity_check of SQLite 3.40 finds NULL that is not there."""
    with connected(sqlite_path) as connection:
        inspector = sqlalchemy.inspect(connection)
        for table in tables.Base.metadata.sorted_tables:
            if table.dialect_options["sqlite"]["with_rowid"]:
                continue
            names = [column["name"] for column in inspector.get_columns(table.name)]
            key = inspector.get_pk_constraint(table.name)["constrained_columns"]
            assert names[-1] not in key or set(names) == set(key), f"Put the key of {table.name} first."


def test_checks_and_primary_keys_are_those_of_the_tables(location: str | Path) -> None:
    """Compare what Alembic does not look at."""
    with connected(location) as connection:
        inspector = sqlalchemy.inspect(connection)
        for table in tables.Base.metadata.sorted_tables:
            assert inspector.get_pk_constraint(table.name)["constrained_columns"] == [
                column.name for column in table.primary_key
            ]
            checks = {check["name"] for check in inspector.get_check_constraints(table.name)}
            assert checks == {
                str(constraint.name)
                for constraint in table.constraints
                if isinstance(constraint, sqlalchemy.CheckConstraint)
            }


def test_every_constraint_and_index_has_a_name(location: str | Path) -> None:
    with connected(location) as connection:
        inspector = sqlalchemy.inspect(connection)
        for table in inspector.get_table_names():
            named: list[Any] = [inspector.get_pk_constraint(table)]
            named += inspector.get_unique_constraints(table) + inspector.get_foreign_keys(table)
            named += inspector.get_check_constraints(table) + inspector.get_indexes(table)
            assert all(each["name"] for each in named), table


def test_sqlite_stores_ordered_tables_as_one_tree(sqlite_path: Path) -> None:
    clustered = {
        table.name
        for table in tables.Base.metadata.sorted_tables
        if table.dialect_options["sqlite"]["with_rowid"] is False
    }
    with connected(sqlite_path) as connection:
        rows = connection.execute(text("SELECT name FROM sqlite_master WHERE sql LIKE '%WITHOUT ROWID%'"))
        assert {row.name for row in rows} == clustered


def test_the_revisions_known_are_those_in_the_folder(sqlite_path: Path) -> None:
    with connected(sqlite_path) as connection:
        scripts = ScriptDirectory.from_config(alembic_config(connection))
        assert [script.revision for script in scripts.walk_revisions()][::-1] == list(migrations.REVISIONS)


async def test_an_empty_database_is_migrated_once_and_keeps_its_identity(
    empty_location: str | Path, opened: Open
) -> None:
    found = []
    for _ in range(2):
        database = await opened(empty_location)
        found.append(await database.read(heads))
        await database.close()
    assert found[0] == found[1]
    ((sequence, uid, epoch),) = found[0]
    assert sequence == 0
    assert len({uid, epoch, ""}) == 3


async def test_two_registries_have_different_identities(tmp_path: Path, opened: Open) -> None:
    databases = [await opened(tmp_path / name) for name in ("a.db", "b.db")]
    found = [await database.read(heads) for database in databases]
    assert found[0] != found[1]


async def test_a_database_of_a_newer_server_is_refused(fresh_location: str | Path) -> None:
    with connected(fresh_location) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.commit()
    with pytest.raises(migrations.SchemaTooNew, match="'9999'"):
        await open_database(fresh_location)


async def test_servers_that_start_at_once_migrate_once(cluster: Any, opened: Open) -> None:
    url = cluster.create_empty()
    databases = await asyncio.gather(*(opened(url) for _ in range(4)))
    found = [await database.read(heads) for database in databases]
    assert found == [found[0]] * 4
    assert len(found[0]) == 1


def test_a_current_database_opens_without_alembic_or_psycopg(sqlite_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", REOPEN, sqlite_path], capture_output=True, text=True, timeout=60, check=False
    )
    assert (process.returncode, process.stdout) == (0, "[]\n"), process.stderr


def test_a_migration_that_fails_leaves_no_table(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    with connected(path) as connection:
        connection.execute(text("CREATE TABLE metrics (x INTEGER)"))
        connection.commit()
    with pytest.raises(sqlalchemy.exc.OperationalError, match="metrics"):
        migrations.migrate_sqlite(path)
    with connected(path) as connection:
        assert sqlalchemy.inspect(connection).get_table_names() == ["metrics"]


def migrate(connection: sqlalchemy.Connection, revision: str) -> None:
    command.upgrade(alembic_config(connection), revision)
    connection.commit()


# As the first revision has them.
FIRST_ROWS = (
    "INSERT INTO namespaces VALUES (1, 'u1', 'default', '', '{}', 1, 1, 1)",
    "INSERT INTO models VALUES (7, 'u2', 1, 'fraud', 'words', '{}', '[]', '{}', 2, 1, 1, '{}', 2)",
    "INSERT INTO manifests VALUES ('sha256:a', ''), ('sha256:b', '')",
    (
        "INSERT INTO versions VALUES (11, 'v1', 7, 1, 'sha256:a', '', '{}', '', '1.0.1', NULL, NULL, "
        "'{}', '{}', 1, 1, 1, 1, '{}', 3), "
        "(12, 'v2', 7, 2, 'sha256:b', '', '{}', '', '1.0.2', NULL, NULL, '{}', '{}', 1, 1, 1, 1, '{}', 3)"
    ),
    "INSERT INTO aliases VALUES (1, 'u3', 7, 'champion', 2, 1, 1, 4)",
    "INSERT INTO files VALUES (12, 'a', 'sha256:c', 1, 'other', NULL)",
)


def test_deletion_is_added_to_rows_that_exist(empty_location: str | Path) -> None:
    """Rows, keys and every index are those of before; the newest version is the latest."""
    with connected(empty_location) as connection:
        migrate(connection, "0001")
        for statement in FIRST_ROWS:
            connection.execute(text(statement))
        connection.commit()
        migrate(connection, "0002")
        model = connection.execute(text("SELECT * FROM models")).one()
        versions = connection.execute(text("SELECT * FROM versions ORDER BY id")).all()
        assert (model.id, model.description, model.last_number, model.latest_number) == (7, "words", 2, 2)
        assert (model.delete_time, model.purge_time) == (None, None)
        assert [(row.id, row.number, row.semantic_version) for row in versions] == [
            (11, 1, "1.0.1"),
            (12, 2, "1.0.2"),
        ]
        assert {(row.import_time, row.delete_time) for row in versions} == {(None, None)}
        assert connection.execute(select(tables.aliases.c.number)).scalar_one() == 2
        first = update(tables.versions).where(tables.versions.c.id == 11)
        for twice in ({"semantic_version": "1.0.2"}, {"digest": "sha256:b"}, {"number": 2}):
            with pytest.raises(sqlalchemy.exc.IntegrityError):
                connection.execute(first.values(twice))
            connection.rollback()


HELD_ROWS = (
    "INSERT INTO namespaces VALUES (2, 'u4', 'empty', '', '{}', 1, 1, 1)",
    "INSERT INTO blobs VALUES ('sha256:c', 40, 1), ('sha256:d', 2, 1)",
    "INSERT INTO holdings VALUES (1, 'sha256:c', 40, 0), (1, 'sha256:d', 2, 0)",
)


def test_what_namespaces_have_is_counted_when_quotas_are_added(empty_location: str | Path) -> None:
    """A namespace without anything is counted too, and none is limited."""
    with connected(empty_location) as connection:
        migrate(connection, "0001")
        for statement in (*FIRST_ROWS, *HELD_ROWS):
            connection.execute(text(statement))
        connection.commit()
        migrate(connection, "0006")
        counted = connection.execute(text("SELECT * FROM namespace_usages ORDER BY namespace_id")).all()
        limits = connection.execute(text("SELECT quota_size_bytes, quota_versions_count FROM namespaces"))
        assert [tuple(row) for row in counted] == [(1, 42, 2), (2, 0, 0)]
        assert {tuple(row) for row in limits} == {(0, 0)}


def test_events_that_exist_are_found_by_who_did_what(empty_location: str | Path) -> None:
    """An event that changed several resources is found by each of them."""
    told = [
        ("ada", "namespace.create", ["namespace/risk"]),
        ("grace", "version.delete", ["v:1", "v:2", "v:1"]),
    ]
    with connected(empty_location) as connection:
        migrate(connection, "0007")
        for sequence, (actor, action, resources) in enumerate(told, start=1):
            changes = [{"resource": resource} for resource in resources]
            content = json.dumps({"actor": {"id": actor}, "action": action, "changes": changes}).encode()
            row = {"sequence": sequence, "content": content}
            connection.execute(text("INSERT INTO events VALUES (:sequence, 1, :content, NULL, NULL)"), row)
        connection.commit()
        migrate(connection, "0009")
        rows = connection.execute(select(tables.events).order_by(tables.events.c.sequence)).all()
        assert [(row.actor, row.action) for row in rows] == [(actor, action) for actor, action, _ in told]
        found = connection.execute(select(tables.event_resources)).all()
        assert {(row.resource, row.sequence) for row in found} == {
            ("namespace/risk", 1),
            ("v:1", 2),
            ("v:2", 2),
        }


def event(resource: str, uid: str, after: dict[str, str] | None) -> bytes:
    return json.dumps({"changes": [{"resource": resource, "uid": uid, "after": after}]}).encode()


def test_events_that_exist_are_found_by_the_model_that_they_tell_of(empty_location: str | Path) -> None:
    """What they say of it decides; where they say nothing, the names that are never used again."""
    told = [
        (event("namespace/default", "u1", {"name": "default"}), ("u1", None)),
        (event("model/default/Stra\u00dfe", "u2", {"name": "Stra\u00dfe"}), ("u1", "u2")),
        (event("version/default/Stra\u00dfe:1", "v1", {"model": "u2"}), ("u1", "u2")),
        (event("version/default/Stra\u00dfe:1", "v1", None), ("u1", "u2")),
        (event("alias/default/STRASSE@a.b", "a1", None), ("u1", "u2")),
        (event("evaluation/default/scam:1", "e1", {"model": "u2"}), ("u1", "u2")),
        (event("model/gone/scam", "u9", None), (None, "u9")),
        (event("alias/gone/scam@a", "a2", None), (None, None)),
    ]
    with connected(empty_location) as connection:
        migrate(connection, "0005")
        connection.execute(text("INSERT INTO namespaces VALUES (1, 'u1', 'default', '', '{}', 1, 1, 1)"))
        columns = "id, uid, namespace_id, name, description, labels, owners, metric_directions, last_number"
        columns += ", latest_number, create_time, update_time, creator, sequence"
        values = "7, 'u2', 1, 'scam', '', '{}', '[]', '{}', 0, 0, 1, 1, '{}', 2"
        connection.execute(text(f"INSERT INTO models ({columns}) VALUES ({values})"))  # noqa: S608
        for name in ("scam", "strasse"):
            connection.execute(text(f"INSERT INTO model_names VALUES (1, '{name}', '{name}', 7)"))  # noqa: S608
        for sequence, (content, _) in enumerate(told, start=1):
            row = {"sequence": sequence, "content": content}
            connection.execute(text("INSERT INTO events VALUES (:sequence, 1, :content)"), row)
        connection.commit()
        migrate(connection, "0007")
        rows = connection.execute(text("SELECT * FROM events ORDER BY sequence")).all()
        assert [(row.namespace_uid, row.model_uid) for row in rows] == [scope for _, scope in told]
        assert [row.content for row in rows] == [content for content, _ in told]
