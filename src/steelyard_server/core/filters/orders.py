"""An order as keys, and where a page goes on in it: absent values last, ties by what names a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, false, or_

from steelyard_server.core.filters.tree import Fault

if TYPE_CHECKING:
    from steelyard_server.core.filters.choices import Choices
    from steelyard_server.core.filters.fields import Field, Fields
    from steelyard_server.core.filters.kinds import Condition
    from steelyard_server.core.filters.tree import OrderKey


@dataclass(frozen=True, slots=True)
class Key:
    """A field to order by.

    Args:
        leads: whether it is the first one that was asked for.
    """

    field: Field
    descending: bool
    leads: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A key as a statement has it; with *nullable* what is absent comes last, in either direction."""

    column: ColumnElement[Any]
    descending: bool
    nullable: bool

    def clauses(self) -> list[ColumnElement[Any]]:
        """Return what to put into ORDER BY."""
        ordered = self.column.desc() if self.descending else self.column.asc()
        return [self.column.is_(None), ordered] if self.nullable else [ordered]

    def behind(self, value: Any) -> Condition:
        """Hold for what comes strictly behind *value*."""
        if value is None:
            return false()
        further = self.column < value if self.descending else self.column > value
        return or_(further, self.column.is_(None)) if self.nullable else further

    def same(self, value: Any) -> Condition:
        """Hold for what is neither before nor behind *value*."""
        return self.column.is_(None) if value is None else self.column == value


def read(asked: Sequence[OrderKey], *, fields: Fields, choices: Choices, unique: Sequence[str]) -> list[Key]:
    """Return the keys of an order, with those of the fields *unique* behind them that name a row.

    The latter take the direction of the last one asked for, so that an index can be read backwards.

    Raises:
        Fault: a field is unknown, may have several values, or comes twice.
        MetricAmbiguous: a metric was measured on several datasets.
    """
    keys: list[Key] = []
    for each in asked:
        field = fields.find(each.path, choices=choices, field="order_by")
        column, text = each.path.column, each.path.text
        if not field.single:
            raise Fault(f"{text} may have several values", column=column, expected="a field with one value")
        if field in [key.field for key in keys]:
            raise Fault(f"{text} comes twice", column=column, expected="another field")
        keys.append(Key(field, each.descending, leads=not keys))
    descending = keys[-1].descending if keys else False
    taken = [key.field for key in keys]
    names = (fields.plain[name] for name in unique)
    return keys + [Key(field, descending) for field in names if field not in taken]


def behind(steps: Sequence[Step], values: Sequence[Any]) -> Condition:
    """Hold for what comes behind the row whose keys have *values*."""
    condition: Condition = false()
    for step, value in reversed(list(zip(steps, values, strict=True))):
        condition = or_(step.behind(value), and_(step.same(value), condition))
    first, value = steps[0], values[0]
    if first.nullable or value is None:
        return condition
    # Said once more for the index, which takes no OR.
    return and_(first.column <= value if first.descending else first.column >= value, condition)
