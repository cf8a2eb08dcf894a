"""Finding the keys of what passes a filter, in an order, behind a position; rows are read by key later.

What the first key of the order is absent from comes last, so a list has up to two phases: what has
it, read from the index that has its order, and the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import not_

from steelyard_server.core import pages
from steelyard_server.core.filters import grammar, orders
from steelyard_server.core.filters.choices import Choices
from steelyard_server.core.filters.conditions import Conditions
from steelyard_server.core.filters.orders import Key, Step
from steelyard_server.core.filters.scope import Driver
from steelyard_server.core.filters.tree import Fault, Node
from steelyard_server.errors import FilterInvalid, OrderByInvalid, PageTokenInvalid

if TYPE_CHECKING:
    from sqlalchemy import Select

    from steelyard_server.core.filters.fields import Field, Fields
    from steelyard_server.core.filters.kinds import Condition
    from steelyard_server.core.filters.scope import Scope
    from steelyard_server.db.database import Row, Transaction

# What a page goes on behind: what its metrics mean, the phase, and the values of the keys of its last row.
Position = list[Any]
# The most that all keys of a row have.
KEYS_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Listing:
    """What is listed: one list of the API in one scope.

    Args:
        unique: fields that name a row in the scope, which break ties and are the order by default.
    """

    fields: Fields
    scope: Scope
    unique: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """The key of a row that is listed, and how the list goes on behind it."""

    id: int
    position: Position


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a list: a statement but for where it begins and ends, and what it is ordered by."""

    statement: Select[Any]
    keys: Sequence[Key]
    steps: Sequence[Step]

    def behind(self, values: Sequence[Any] | None, *, limit: int) -> Select[Any]:
        """Return the statement of what follows *values*, at most *limit* rows."""
        columns = [step.column.label(f"key_{place}") for place, step in enumerate(self.steps)]
        ordered = [clause for step in self.steps for clause in step.clauses()]
        statement = self.statement.add_columns(*columns).order_by(*ordered).limit(limit)
        return statement if values is None else statement.where(orders.behind(self.steps, values))


def find(
    tx: Transaction,
    listing: Listing,
    *,
    filter: str,  # noqa: A002 - as the request calls it
    order_by: str,
    after: Position | None,
    limit: int,
) -> list[Found]:
    """Return the next rows of a list, at most *limit*.

    Raises:
        FilterInvalid, OrderByInvalid, MetricAmbiguous, TooLong: with the column where one stands.
        PageTokenInvalid: *after* is no position in this list.
    """
    choices = Choices(tx, listing.scope, kept=None if after is None else _choices(after))
    phases = _phases(listing, choices, filter=filter, order_by=order_by)
    begin, values = (0, None) if after is None else _place(after, phases)
    found: list[Found] = []
    for number, phase in list(enumerate(phases))[begin:]:
        rows = tx.all(phase.behind(values if number == begin else None, limit=limit - len(found)))
        found += [Found(row[0], [choices.made, number, *list(row)[1:]]) for row in rows]
        if len(found) == limit:
            break
    return found


def page(
    tx: Transaction,
    listing: Listing,
    *,
    statement: Select[Any],
    size_bytes: Callable[[Row], int],
    page_size: int,
    **query: Any,
) -> tuple[list[Row], Position | None]:
    """Return the rows of a page, and the position behind it; None when nothing follows.

    Args:
        statement: reads the rows whose keys are bound as `ids`.
        size_bytes: an estimate of what a row adds to the answer.
        query: what `find` takes.
    """
    rows_maximum = pages.page_size(page_size)
    found = find(tx, listing, limit=rows_maximum + 1, **query)
    rows, more = pages.by_keys(
        tx,
        statement,
        keys=[each.id for each in found],
        size_bytes=size_bytes,
        rows_maximum=rows_maximum,
        reserved_bytes=_token_bytes(found),
    )
    return rows, found[len(rows) - 1].position if more else None


def _token_bytes(found: Sequence[Found]) -> int:
    """Estimate the page token, whose alphabet needs four characters for three bytes."""
    choices = found[0].position[0] if found else []
    return (KEYS_BYTES + len(orjson.dumps(choices))) * 4 // 3


def _phases(listing: Listing, choices: Choices, *, filter: str, order_by: str) -> list[Phase]:  # noqa: A002
    conditions = Conditions(listing.fields, choices)
    try:
        node = grammar.parse_filter(filter)
        conditions.of(node, listing.scope)
    except Fault as fault:
        raise FilterInvalid(_told(fault, "filter"), field="filter", **_facts(fault)) from None
    try:
        keys = _keys(listing, choices, order_by=order_by)
    except Fault as fault:
        allowed = ", ".join(listing.fields.orderable())
        message = _told(fault, "order_by")
        raise OrderByInvalid(message, field="order_by", allowed=allowed, **_facts(fault)) from None
    return list(_phases_of(listing, conditions, node=node, keys=keys))


def _keys(listing: Listing, choices: Choices, *, order_by: str) -> list[Key]:
    asked = grammar.parse_order(order_by) if order_by.strip() else []
    keys = orders.read(asked, fields=listing.fields, choices=choices, unique=listing.unique)
    return [key for key in keys if not key.field.constant(listing.scope)]


def _phases_of(listing: Listing, conditions: Conditions, *, node: Node, keys: list[Key]) -> Iterator[Phase]:
    first, scope = keys[0].field, listing.scope
    driven = _driven(listing, conditions, node=node, first=first)
    wanted = [conditions.of(node, driven)]
    if driven.driver is not None:
        wanted += driven.driver.rows.conditions(driven.driver.source.c)
    if not first.nullable:
        yield _phase(driven, wanted, keys=keys)
        return
    yield _phase(driven, [*wanted, first.order(driven).is_not(None)], keys=keys, present=True)
    if first.rows is not None and conditions.needs(node, first.rows):
        return
    yield _phase(scope, [conditions.of(node, scope), _absent(scope, keys[0])], keys=keys[1:])


def _driven(listing: Listing, conditions: Conditions, *, node: Node, first: Field) -> Scope:
    """Begin with the rows of the first key; ordered by number, with those of something that is equal.

    The index of the latter has the numbers of each value in order.
    """
    rows = first.rows
    if rows is None and first == listing.fields.plain.get("number"):
        rows = conditions.equal(node)
    if rows is None:
        return listing.scope
    return listing.scope.driven(Driver(rows, rows.table.alias("ordered")))


def _absent(scope: Scope, key: Key) -> Condition:
    rows = key.field.rows
    if rows is None:
        return key.field.order(scope).is_(None)
    return not_(scope.having(rows, rows.kind.order(rows.table.c).is_not(None)))


def _phase(scope: Scope, wanted: list[Condition], *, keys: Sequence[Key], present: bool = False) -> Phase:
    """Put a part together; when *present* its rows have the first key."""
    steps = [
        Step(key.field.order(scope), key.descending, key.field.nullable and not (present and place == 0))
        for place, key in enumerate(keys)
    ]
    return Phase(scope.base().where(*wanted), keys, steps)


def _choices(after: Position) -> list[Any]:
    if after and isinstance(after[0], list):
        return after[0]
    raise _no_position()


def _place(after: Position, phases: Sequence[Phase]) -> tuple[int, list[Any]]:
    """Read phase and values of a position; whoever wrote it is not trusted."""
    number, values = after[1] if len(after) > 1 else None, after[2:]
    if type(number) is not int or not 0 <= number < len(phases):
        raise _no_position()
    phase = phases[number]
    if len(values) != len(phase.steps):
        raise _no_position()
    for key, step, value in zip(phase.keys, phase.steps, values, strict=True):
        if not (step.nullable if value is None else key.field.kind.is_order(value)):
            raise _no_position()
    return number, values


def _no_position() -> PageTokenInvalid:
    message = "The page token is not one of this query; start again without a token."
    return PageTokenInvalid(message, field="page_token")


def _told(fault: Fault, field: str) -> str:
    return f"Column {fault.column} of `{field}`: {fault.message}; expected {fault.expected}."


def _facts(fault: Fault) -> dict[str, object]:
    return {"column": fault.column, "expected": fault.expected}
