"""Which dataset a metric means that names none, found by steps along an index and not by a scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, Table, bindparam, func, select

from steelyard_server.core.names import storable
from steelyard_server.errors import MetricAmbiguous, PageTokenInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from steelyard_server.core.filters.scope import Scope
    from steelyard_server.core.filters.tree import Path
    from steelyard_server.db.database import Transaction

SHOWN_CHOICES = 10
# The smallest text that may follow another: control characters stand in no name.
NEXT = "\x01"


class Choices:
    """Answers of one list, kept for its later pages: what a metric means must not change between them.

    Args:
        kept: the answers that a page token holds, in the order in which they were asked for.
    """

    def __init__(self, tx: Transaction, scope: Scope, *, kept: Sequence[Any] | None = None) -> None:
        self._tx = tx
        self._scope = scope
        self._kept = kept
        self._made: dict[tuple[str, str], tuple[str, str]] = {}

    @property
    def made(self) -> list[tuple[str, str]]:
        """Return all answers in the order in which they were asked for."""
        return list(self._made.values())

    def of(self, table: Table, path: Path, *, name: str, field: str) -> tuple[str, str]:
        """Return dataset and slice of the metric *name* of *path*: none when it was ever measured so.

        Raises:
            MetricAmbiguous: it was measured on several datasets or slices, and on none that is not named.
        """
        key = (table.name, name)
        if key not in self._made:
            kept = self._kept
            chosen = self._chosen(table, path, name=name, field=field) if kept is None else self._again(kept)
            self._made[key] = chosen
        return self._made[key]

    def _again(self, kept: Sequence[Any]) -> tuple[str, str]:
        position = len(self._made)
        found = kept[position] if position < len(kept) else None
        match found:
            case [str(dataset), str(slice_)] if storable(dataset) and storable(slice_):
                return dataset, slice_
        message = "The page token is not one of this query; start again without a token."
        raise PageTokenInvalid(message, field="page_token")

    def _chosen(self, table: Table, path: Path, *, name: str, field: str) -> tuple[str, str]:
        found: list[tuple[str, str]] = []
        for measured in self.measured(table, name):
            if measured == ("", ""):
                return measured
            found.append(measured)
            if len(found) > SHOWN_CHOICES:
                break
        if len(found) <= 1:
            return found[0] if found else ("", "")
        shown = [written(path, *each) for each in found[:SHOWN_CHOICES]]
        message = (
            f"Column {path.column} of `{field}`: {path.text} was measured on several datasets; "
            f"write one of {', '.join(shown)}{' …' if len(found) > SHOWN_CHOICES else ''}"
        )
        raise MetricAmbiguous(message, field=field, column=path.column, choices=", ".join(shown))

    def measured(self, table: Table, name: str) -> Iterator[tuple[str, str]]:
        """Yield the datasets and slices on which the metric *name* was measured."""
        datasets, slices = _steps(table, self._scope)
        dataset = self._first(datasets, name=name, low="")
        while dataset is not None:
            slice_ = self._first(slices, name=name, dataset=dataset, low="")
            while slice_ is not None:
                yield dataset, slice_
                slice_ = self._first(slices, name=name, dataset=dataset, low=slice_ + NEXT)
            dataset = self._first(datasets, name=name, low=dataset + NEXT)

    def _first(self, statement: Any, **values: str) -> str | None:
        row = self._tx.one(statement, **values)
        return None if row is None else row.first


def _steps(table: Table, scope: Scope) -> tuple[Any, Any]:
    """Return statements of the next dataset, and of the next slice of one."""
    columns = table.c
    of_name = columns.name == bindparam("name")
    of_dataset = columns.dataset == bindparam("dataset")
    models = scope.models()
    return step(models, columns.dataset, of_name), step(models, columns.slice, of_name, of_dataset)


def step(models: Select[Any], column: Any, *wanted: Any) -> Select[Any]:
    """Return the statement of the `first` value of *column* from `low` on: a step in each of *models*."""
    each = models.subquery()
    following = (
        select(column)
        .where(column.table.c.model_id == each.c.id, *wanted, column >= bindparam("low"))
        .order_by(column)
        .limit(1)
    )
    least = func.min(following.correlate(each).scalar_subquery())
    return select(least.label("first")).select_from(each)


def written(path: Path, dataset: str, slice_: str) -> str:
    """Write a metric with its dataset, as a filter takes it."""
    at = f"@{_name(dataset)}" if dataset else ""
    return f"{'.'.join(map(_name, path.segments))}{at}{_in_brackets(slice_)}"


def _in_brackets(slice_: str) -> str:
    if not slice_:
        return ""
    return f"[{slice_}]" if not set(slice_) & set('[]"') else f'["{_escaped(slice_)}"]'


def _name(text: str) -> str:
    plain = text.replace("-", "").replace("_", "")
    return text if plain.isalnum() and not text.startswith("-") else f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")
