"""SQLAlchemy statements as text: each is compiled once a dialect, then runs on the driver.

Building a statement costs thirty times as much as running it, so statements are module constants
with a ``bindparam`` for every value. ``any_of`` closes a gap between the databases; an upsert is
``sqlalchemy.dialects.postgresql.insert(table).on_conflict_do_update(…)``, whose words SQLite took over.
"""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast
from weakref import finalize

from sqlalchemy import (
    BindParameter,
    Boolean,
    ColumnElement,
    Dialect,
    Executable,
    FromClause,
    Insert,
    Integer,
    Table,
    bindparam,
    insert,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import UserDefinedType

MakeRow = Callable[[Iterable[Any]], Any]


class ListOfValues(UserDefinedType[Any]):
    """The type that marks a parameter as a whole list."""

    cache_ok = True


class AnyOf(FunctionElement[bool]):
    """Membership of a column in a list of values bound as one parameter."""

    type = Boolean()
    inherit_cache = True

    def __init__(self, column: ColumnElement[Any], values: BindParameter[Any]) -> None:
        super().__init__(column, values)

    def self_group(self, against: Any = None) -> AnyOf:  # noqa: ARG002 - SQLAlchemy passes it
        """Stay as it is in a WHERE; SQLAlchemy would append "= 1" for SQLite, which no index serves."""
        return self


def any_of(column: ColumnElement[Any], name: str) -> AnyOf:
    """Hold for rows whose *column* is in the list given as the parameter *name*.

    The statement text is the same for any length, also none. Values are int or str.
    """
    return AnyOf(column, bindparam(name, type_=ListOfValues()))


def any_of_these(column: ColumnElement[Any], values: Sequence[Any]) -> AnyOf:
    """Hold for rows whose *column* is one of *values*, in a statement that is made for one use."""
    return AnyOf(column, bindparam(None, list(values), type_=ListOfValues(), unique=True))


@compiles(AnyOf)
def _any_of(element: AnyOf, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(part, **options) for part in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - both are parts of a statement


@compiles(AnyOf, "postgresql")
def _any_of_on_postgresql(element: AnyOf, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(part, **options) for part in element.clauses)
    wanted, _ = element.clauses
    kind = "BIGINT" if isinstance(wanted.type, Integer) else "TEXT"
    # Not = ANY: where no index serves it, that compares each row with every value, one after the other.
    return f"{column} IN (SELECT unnest(CAST({values} AS {kind}[])))"


def insert_new(table: Table) -> postgresql.Insert:
    """Insert rows of *table* whose unique keys are free, and skip the others.

    ``Transaction.run`` then returns how many were new.
    """
    return postgresql.insert(table).on_conflict_do_nothing()


def insert_generated(table: Table) -> Insert:
    """Insert one row of *table* with a value for every column but its key, which comes back."""
    key = table.autoincrement_column
    if key is None:
        raise TypeError(f"Table {table.name!r} generates no key. Use sqlalchemy.insert.")
    given: dict[str, BindParameter[Any]] = {
        column.name: bindparam(column.name) for column in table.c if column is not key
    }
    return insert(table).values(given).returning(key)


class Compiled:
    """The text of one statement and what is needed to run it.

    Attributes:
        sql: text with named parameters in the style of the driver.
        make_row: turns a driver row into a named tuple; None until the first rows came.
    """

    __slots__ = ("_encode_list", "_fixed", "_lists", "make_row", "sql")

    def __init__(
        self,
        sql: str,
        *,
        fixed: Mapping[str, Any],
        lists: Sequence[str],
        encode_list: Callable[[Sequence[Any]], Any],
    ) -> None:
        self.sql = sql
        self._fixed = fixed
        self._lists = lists
        self._encode_list = encode_list
        self.make_row: MakeRow | None = None

    def bind(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Complete *values* with those that stand in the statement itself."""
        if not self._fixed and not self._lists:
            return values
        bound = {**self._fixed, **values}
        for name in self._lists:
            bound[name] = self._encode_list(bound[name])
        return bound


class Statements:
    """The compiled statements of one dialect, found by identity and forgotten with the statement.

    May be used by several threads: at worst two compile the same statement.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect.name
        self._dialect = dialect
        self._encode_list: Callable[[Sequence[Any]], Any] = json.dumps if dialect.name == "sqlite" else list
        # By identity: hashing a statement costs more than running it. An entry goes with its statement.
        self._compiled: dict[int, Compiled] = {}
        self._makers: dict[tuple[str, ...], MakeRow] = {}

    def __len__(self) -> int:
        """Return how many statements are kept."""
        return len(self._compiled)

    def get(self, statement: Executable) -> Compiled:
        """Return the text of *statement*, compiling it the first time."""
        key = id(statement)
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = self._compile(statement)
            finalize(statement, self._compiled.pop, key, None)
        return found

    def copy(self, table: FromClause, columns: Sequence[str]) -> str:
        """Return what makes PostgreSQL take rows of *table* as a stream, with values for *columns*."""
        quoted = self._dialect.identifier_preparer
        names = ", ".join(map(quoted.quote, columns))
        return f"COPY {quoted.format_table(cast('Table', table))} ({names}) FROM STDIN"

    def _compile(self, statement: Executable) -> Compiled:
        compiled = statement.compile(dialect=self._dialect)  # type: ignore[attr-defined]
        sql = str(compiled)
        if _EXPANDED in sql:
            raise TypeError(f"Use any_of instead of in_ with a list: {sql}")
        binds = compiled.binds
        return Compiled(
            sql,
            fixed={name: bind.effective_value for name, bind in binds.items() if not bind.required},
            lists=[name for name, bind in binds.items() if isinstance(bind.type, ListOfValues)],
            encode_list=self._encode_list,
        )

    def row_maker(self, description: Sequence[Sequence[Any]]) -> MakeRow:
        """Return what turns a driver row into a tuple with the column names of *description*."""
        names = tuple(column[0] for column in description)
        found = self._makers.get(names)
        if found is None:
            row = namedtuple("Row", names, rename=True)  # type: ignore[misc]  # noqa: PYI024 - made at run time
            found = self._makers[names] = partial(tuple.__new__, row)
        return found


_EXPANDED: Final = "__[POSTCOMPILE_"
