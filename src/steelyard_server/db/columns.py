"""What the classes of tables are made of: a base, and column types that mean the same on both databases."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Final

import sqlalchemy
from sqlalchemy.ext.compiler import compiles
from sqlmodel import Field, SQLModel


class BinaryText(sqlalchemy.Text):
    """Text ordered by its UTF-8 bytes, whatever the locale of the database."""

    def __init__(self) -> None:
        super().__init__()


@compiles(BinaryText, "postgresql")
def _binary_text_on_postgresql(*_: object, **__: object) -> str:
    return 'TEXT COLLATE "C"'


class Key(sqlalchemy.BigInteger):
    """A 64-bit key. SQLite takes only the exact word INTEGER for the key of its own tree."""


@compiles(Key, "sqlite")
def _key_on_sqlite(*_: object, **__: object) -> str:
    return "INTEGER"


GeneratedKey = Annotated[int, Field(sa_type=Key, primary_key=True)]
GivenKey = Annotated[int, Field(sa_type=Key, primary_key=True, sa_column_kwargs={"autoincrement": False})]
TextKey = Annotated[str, Field(sa_type=BinaryText, primary_key=True)]
Text = Annotated[str, Field(sa_type=BinaryText)]
OptionalText = Annotated[str | None, Field(sa_type=BinaryText)]
Integer = Annotated[int, Field(sa_type=sqlalchemy.BigInteger)]
OptionalInteger = Annotated[int | None, Field(sa_type=sqlalchemy.BigInteger)]
OptionalDouble = Annotated[float | None, Field(sa_type=sqlalchemy.Double)]
Blob = Annotated[bytes, Field(sa_type=sqlalchemy.LargeBinary)]

# Tables whose key is their order on disk: SQLite then keeps one tree for them instead of two.
CLUSTERED: Final = {"sqlite_with_rowid": False}


def unique_where_given(scope: str, column: str) -> sqlalchemy.Index:
    """Make a unique index that has only the rows with a value, for a column that few rows fill."""
    given = sqlalchemy.text(f"{column} IS NOT NULL")
    return sqlalchemy.Index(None, scope, column, unique=True, sqlite_where=given, postgresql_where=given)


def where_given(column: str, *others: str, given: str = "") -> sqlalchemy.Index:
    """Make an index of the rows that have a value in *column*, or in *given*, which few rows have.

    Args:
        others: columns that follow in it.
    """
    condition = sqlalchemy.text(f"{given or column} IS NOT NULL")
    return sqlalchemy.Index(None, column, *others, sqlite_where=condition, postgresql_where=condition)


class Base(SQLModel):
    """Name every constraint, so that a migration can refer to it on either database."""

    metadata = sqlalchemy.MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    __table__: ClassVar[sqlalchemy.Table]


def comparable(value: float) -> float | None:
    """Return what both databases store and order alike for the double *value*.

    NaN, which SQLite cannot store and PostgreSQL puts above all, becomes NULL: it compares with
    nothing and sorts last. Negative zero becomes zero.
    """
    return None if math.isnan(value) else value + 0.0
