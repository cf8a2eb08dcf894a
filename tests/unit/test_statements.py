"""Statements become the text that each database takes."""

from __future__ import annotations

import gc

import pytest
from sqlalchemy import bindparam, insert, select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from steelyard_server.db import tables
from steelyard_server.db.statements import Statements, any_of, insert_generated, insert_new

FILES = select(tables.files.c.path).where(
    tables.files.c.role == "weights", any_of(tables.files.c.digest, "digests")
)


def postgresql_dialect() -> PGDialect_psycopg:
    return PGDialect_psycopg()  # type: ignore[no-untyped-call]


@pytest.fixture(
    params=[SQLiteDialect_pysqlite(paramstyle="named"), postgresql_dialect()], ids=lambda each: each.name
)
def statements(request: pytest.FixtureRequest) -> Statements:
    return Statements(request.param)


def test_a_list_is_one_parameter() -> None:
    sqlite = Statements(SQLiteDialect_pysqlite(paramstyle="named")).get(FILES)
    assert sqlite.sql.endswith("files.digest IN (SELECT value FROM json_each(:digests))")
    assert sqlite.bind({"digests": ("a", "b")})["digests"] == '["a", "b"]'
    postgresql = Statements(postgresql_dialect()).get(FILES)
    # Not = ANY, which compares each row with all values in turn where no index serves it.
    assert postgresql.sql.endswith("files.digest IN (SELECT unnest(CAST(%(digests)s AS TEXT[])))")
    assert postgresql.bind({"digests": ("a", "b")})["digests"] == ["a", "b"]


def test_values_that_stand_in_a_statement_are_added(statements: Statements) -> None:
    assert "weights" in statements.get(FILES).bind({"digests": []}).values()


def test_binding_leaves_the_values_of_the_caller_alone(statements: Statements) -> None:
    values = {"digests": ["a"]}
    statements.get(FILES).bind(values)
    assert values == {"digests": ["a"]}


def test_a_statement_is_compiled_once(statements: Statements) -> None:
    assert statements.get(FILES) is statements.get(FILES)


def test_the_text_of_a_statement_that_is_gone_is_forgotten(statements: Statements) -> None:
    for _ in range(10):
        statements.get(select(tables.files.c.path).where(tables.files.c.path == bindparam("path")))
    gc.collect()
    assert len(statements) == 0


def test_a_lock_of_rows_is_for_postgresql_only(statements: Statements) -> None:
    text = statements.get(select(tables.registry.c.id).with_for_update()).sql
    assert ("FOR UPDATE" in text) == (statements.dialect == "postgresql")


def test_a_generated_key_is_left_out_and_returned(statements: Statements) -> None:
    text = statements.get(insert_generated(tables.aliases)).sql
    assert "INTO aliases (uid, model_id, " in text
    assert text.split()[-1].removeprefix("aliases.") == "id"


def test_a_table_whose_key_is_given_has_none_to_return() -> None:
    with pytest.raises(TypeError, match="events"):
        insert_generated(tables.events)


def test_an_insert_names_every_column(statements: Statements) -> None:
    for table in tables.Base.metadata.sorted_tables:
        for statement in (insert(table), insert_new(table)):
            text = statements.get(statement).sql
            assert all(column.name in text for column in table.c)


def test_nan_is_absent_and_negative_zero_is_zero() -> None:
    assert tables.comparable(float("nan")) is None
    assert str(tables.comparable(-0.0)) == "0.0"
    assert tables.comparable(float("-inf")) == float("-inf")
