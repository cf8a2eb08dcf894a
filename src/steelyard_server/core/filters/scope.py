"""What a list is of, and how rows of other tables are found from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sqlalchemy import ColumnElement, FromClause, Select, Table, and_, exists, select, tuple_

from steelyard_server.core.filters.kinds import Columns, Condition, Kind
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of_these

_V, _M = tables.versions, tables.models


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of another table that belong to what is listed, and hold values of a field.

    Args:
        table: where they lie.
        kind: what they hold.
        where: what their columns must equal to be of the field, as pairs of name and text.
        single: whether there is at most one, so that it can be ordered by.
        probe: whether they are looked for row by row of the list, by their primary key, because no
            index finds them by what they hold.
    """

    table: Table
    kind: Kind
    where: tuple[tuple[str, str], ...] = ()
    single: bool = False
    probe: bool = False

    def conditions(self, columns: Columns) -> list[Condition]:
        """Return what makes rows those of the field."""
        return [columns[name] == text for name, text in self.where]


@dataclass(frozen=True, slots=True)
class Driver:
    """The rows that a statement begins with, because their index has the order that is wanted."""

    rows: Rows
    source: FromClause


class Scope(Protocol):
    """A list of versions, of models, of events or of promotions."""

    @property
    def driver(self) -> Driver | None:
        """Return the rows that the statement begins with; None for those of the list itself."""

    @property
    def id(self) -> ColumnElement[int]:
        """Return the key of what is listed."""

    @property
    def owner(self) -> str:
        """Return the name of the column that holds this key in other tables."""

    def own(self) -> Columns:
        """Return the columns of what is listed, where they can from the rows that a statement begins with."""

    def models(self) -> Select[Any]:
        """Select the keys of the models in scope."""

    def driven(self, driver: Driver) -> Scope:
        """Return the same list for a statement that begins with *driver*."""

    def base(self) -> Select[Any]:
        """Return the statement of all that is listed, to add columns and conditions to."""

    def within(self, columns: Columns) -> Condition:
        """Hold for rows of another table that belong to the list."""

    def having(self, rows: Rows, condition: Condition) -> Condition:
        """Hold for what has one of *rows* that meets *condition*; never NULL."""


def matches(scope: Scope, rows: Rows, condition: Callable[[Columns], Condition]) -> Condition:
    """Hold for what has one of *rows* for whose columns *condition* holds."""
    if scope.driver is not None and scope.driver.rows == rows:
        return condition(scope.driver.source.c)
    return scope.having(rows, condition(rows.table.c))


def value(scope: Scope, rows: Rows) -> ColumnElement[Any]:
    """Return what a single row of each holds, NULL where there is none."""
    if scope.driver is not None and scope.driver.rows == rows:
        return rows.kind.order(scope.driver.source.c)
    columns = rows.table.c
    of_each = (columns[scope.owner] == scope.id, *rows.conditions(columns))
    return select(rows.kind.order(columns)).where(*of_each).correlate_except(rows.table).scalar_subquery()


def probe(scope: Scope, rows: Rows, condition: Condition) -> Condition:
    """Hold for what has one of *rows* that meets *condition*, looked for by the key of each."""
    columns = rows.table.c
    found = select(columns[scope.owner]).where(
        columns[scope.owner] == scope.id, *rows.conditions(columns), condition
    )
    return exists(found.correlate_except(rows.table))


def readable_only(
    namespace_id: int, names: tuple[str, ...] | None, *, key: ColumnElement[int] = _M.c.id
) -> list[Condition]:
    """Return what keeps models of other names out, by the *key* of the model that something belongs to."""
    if names is None:
        return []
    column = tables.model_names.c
    found = select(column.model_id).where(
        column.namespace_id == namespace_id, any_of_these(column.name_key, names)
    )
    return [key.in_(found.correlate(None))]


@dataclass(frozen=True, slots=True)
class VersionScope:
    """The versions of one model, or of all models of a namespace when *model_id* is None.

    Deleted ones are left out unless *show_deleted*; those of deleted models always.

    Args:
        readable: folded names of the models that the caller may read; None for all.
    """

    namespace_id: int
    model_id: int | None = None
    show_deleted: bool = False
    driver: Driver | None = None
    readable: tuple[str, ...] | None = None

    owner = "version_id"

    @property
    def id(self) -> ColumnElement[int]:
        """See `Scope.id`."""
        return self.driver.source.c.version_id if self.driver else _V.c.id

    @property
    def number(self) -> ColumnElement[int]:
        """Return the number of what is listed."""
        return self.driver.source.c.number if self.driver else _V.c.number

    @property
    def model(self) -> ColumnElement[int]:
        """Return the key of the model of what is listed."""
        return self.driver.source.c.model_id if self.driver else _V.c.model_id

    def own(self) -> Columns:
        """See `Scope.own`."""
        return dict(_V.c) | {"number": self.number}

    def models(self) -> Select[Any]:
        """See `Scope.models`."""
        if self.model_id is not None:
            return select(_M.c.id).where(_M.c.id == self.model_id)
        return select(_M.c.id).where(*self._of_models())

    def _of_models(self) -> list[Condition]:
        readable = readable_only(self.namespace_id, self.readable)
        return [_M.c.namespace_id == self.namespace_id, _M.c.delete_time.is_(None), *readable]

    def driven(self, driver: Driver) -> VersionScope:
        """See `Scope.driven`."""
        return replace(self, driver=driver)

    def base(self) -> Select[Any]:
        """See `Scope.base`. The model is joined only where several are listed."""
        source: FromClause = _V
        if self.driver is not None:
            # Nothing else of the version is asked for, so that no plan begins with it.
            source = self.driver.source.join(_V, _V.c.id == self.driver.source.c.version_id)
        in_scope = [self.model == self.model_id]
        if self.model_id is None:
            source = source.join(_M, _M.c.id == self.model)
            in_scope = self._of_models()
        if not self.show_deleted:
            in_scope.append(_V.c.delete_time.is_(None))
        return select(self.id.label("id")).select_from(source).where(*in_scope)

    def within(self, columns: Columns) -> Condition:
        """See `Scope.within`."""
        if self.model_id is not None:
            return columns["model_id"] == self.model_id
        return columns["model_id"].in_(self.models().correlate(None))

    def having(self, rows: Rows, condition: Condition) -> Condition:
        """See `Scope.having`."""
        columns = rows.table.c
        if rows.probe:
            return probe(self, rows, condition)
        if rows.table is _M:
            return self.model.in_(self.models().where(condition).correlate(None))
        wanted = [*rows.conditions(columns), condition]
        if "model_id" not in columns:  # files, which are found by digest in every model
            return self.id.in_(select(columns.version_id).where(*wanted).correlate(None))
        wanted.insert(0, self.within(columns))
        if self.model_id is not None:
            return self.number.in_(select(columns.number).where(*wanted).correlate(None))
        if "version_id" in columns:
            return self.id.in_(select(columns.version_id).where(*wanted).correlate(None))
        found = select(columns.model_id, columns.number).where(*wanted).correlate(None)
        return tuple_(self.model, self.number).in_(found)


@dataclass(frozen=True, slots=True)
class ModelScope:
    """The models of a namespace; deleted ones are left out unless *show_deleted*, purged ones always.

    Args:
        readable: folded names of the models that the caller may read; None for all.
    """

    namespace_id: int
    show_deleted: bool = False
    driver: Driver | None = None
    readable: tuple[str, ...] | None = None

    owner = "model_id"

    @property
    def id(self) -> ColumnElement[int]:
        """See `Scope.id`."""
        return self.driver.source.c.model_id if self.driver else _M.c.id

    def own(self) -> Columns:
        """See `Scope.own`."""
        return dict(_M.c)

    def models(self) -> Select[Any]:
        """See `Scope.models`."""
        return select(_M.c.id).where(self._inside(_M.c, key=_M.c.id), *self._shown())

    def driven(self, driver: Driver) -> ModelScope:
        """See `Scope.driven`."""
        return replace(self, driver=driver)

    def base(self) -> Select[Any]:
        """See `Scope.base`."""
        first = _M if self.driver is None else self.driver.source
        source = first if self.driver is None else first.join(_M, _M.c.id == first.c.model_id)
        inside = self._inside(first.c, key=self.id)
        return select(self.id.label("id")).select_from(source).where(inside, *self._shown())

    def _shown(self) -> list[Condition]:
        return [_M.c.purge_time.is_(None)] if self.show_deleted else [_M.c.delete_time.is_(None)]

    def within(self, columns: Columns) -> Condition:
        """See `Scope.within`."""
        return self._inside(columns, key=columns["model_id"])

    def _inside(self, columns: Columns, *, key: ColumnElement[int]) -> Condition:
        readable = readable_only(self.namespace_id, self.readable, key=key)
        return and_(columns["namespace_id"] == self.namespace_id, *readable)

    def having(self, rows: Rows, condition: Condition) -> Condition:
        """See `Scope.having`."""
        columns = rows.table.c
        if rows.probe:
            return probe(self, rows, condition)
        wanted = [self.within(columns), *rows.conditions(columns), condition]
        return self.id.in_(select(columns.model_id).where(*wanted).correlate(None))


def where(**texts: str) -> tuple[tuple[str, str], ...]:
    """Write what columns must equal as `Rows` has it."""
    return tuple(texts.items())
