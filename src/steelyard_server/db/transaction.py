"""What a use case sees of the database while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Final, Protocol

from sqlalchemy import Executable, Insert

from .statements import Compiled, Statements

# Rows that psycopg takes from the server at a time, where its library can; the largest have 700 KiB.
CHUNK_ROWS: Final = 32
# Fewer rows are cheaper as statements of their own.
FILLED_ROWS: Final = 8


class Row(Protocol):
    """One row: a tuple whose parts are also attributes named like the columns."""

    def __getattr__(self, column: str, /) -> Any: ...
    def __getitem__(self, position: int, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...


class Transaction:
    """Run statements of one use case on the driver connection, on one thread.

    The same class serves sqlite3 and psycopg: both connections execute text with named parameters.
    Errors of the driver must pass through the use case: after one, PostgreSQL takes no further
    statement.
    """

    __slots__ = ("_connection", "_over", "_statements", "facts")

    def __init__(self, connection: Any, statements: Statements) -> None:
        self._connection = connection
        self._statements = statements
        self._over: Exception | None = None
        self.facts: list[object] = []

    @property
    def dialect(self) -> str:
        """Return "sqlite" or "postgresql", for the few places where they must differ."""
        return self._statements.dialect

    def one(self, statement: Executable, **values: Any) -> Row | None:
        """Return the first row, or None."""
        compiled = self._compiled(statement)
        cursor = self._connection.execute(compiled.sql, compiled.bind(values))
        row = cursor.fetchone()
        return None if row is None else self._maker(compiled, cursor)(row)

    def all(self, statement: Executable, **values: Any) -> list[Row]:
        """Return all rows."""
        compiled = self._compiled(statement)
        cursor = self._connection.execute(compiled.sql, compiled.bind(values))
        rows = cursor.fetchall()
        return list(map(self._maker(compiled, cursor), rows)) if rows else []

    def each(self, statement: Executable, **values: Any) -> Iterator[Row]:
        """Yield rows as they come, so that few of them are in memory; meanwhile nothing else may run."""
        compiled = self._compiled(statement)
        cursor = self._connection.cursor()
        if self.dialect == "sqlite":
            rows = cursor.execute(compiled.sql, compiled.bind(values))
        else:
            rows = cursor.stream(compiled.sql, compiled.bind(values), size=CHUNK_ROWS)
        # What is left of a stream keeps the connection busy until it is closed.
        with closing(rows):
            for row in rows:
                self.check()
                yield self._maker(compiled, cursor)(row)

    def run(self, statement: Executable, rows: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> int:
        """Change the database and return how many rows were affected, over all of *rows*."""
        compiled = self._compiled(statement)
        if isinstance(rows, Mapping):
            affected: int = self._connection.execute(compiled.sql, compiled.bind(rows)).rowcount
        elif rows:
            cursor = self._connection.cursor()
            cursor.executemany(compiled.sql, [compiled.bind(row) for row in rows])
            affected = cursor.rowcount
        else:
            affected = 0
        return affected

    def fill(self, statement: Insert, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert many rows that are new, all with the same columns; *statement* is a plain insert.

        On PostgreSQL they go as one stream, in a sixth of the time that as many statements take.
        """
        if self.dialect == "sqlite" or len(rows) < FILLED_ROWS:
            self.run(statement, rows)
            return
        columns = tuple(rows[0])
        with self._connection.cursor().copy(self._copied(statement, columns)) as copy:
            for row in rows:
                copy.write_row([row[column] for column in columns])

    def after_commit(self, fact: object) -> None:
        """Leave *fact* for the ``on_commit`` callback; it is dropped when the use case fails."""
        self.facts.append(fact)

    def end(self, reason: Exception) -> None:
        """Refuse every further statement with *reason*. May be called from another thread."""
        self._over = self._over or reason

    def check(self) -> None:
        """Raise the reason for which the transaction was ended, if it was."""
        if self._over is not None:
            raise self._over

    def _compiled(self, statement: Executable) -> Compiled:
        self.check()
        return self._statements.get(statement)

    def _copied(self, statement: Insert, columns: Sequence[str]) -> str:
        self.check()
        return self._statements.copy(statement.table, columns)

    def _maker(self, compiled: Compiled, cursor: Any) -> Any:
        if compiled.make_row is None:
            compiled.make_row = self._statements.row_maker(cursor.description)
        return compiled.make_row
