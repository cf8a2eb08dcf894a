"""Finding the keys of what passes a filter, in an order, behind a position; rows are read by key later.

What the first key of the order is absent from comes last, so a list has up to two phases: what has
it, read from the index that has its order, and the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import orjson
from sqlalchemy import not_

from steelyard_server.core import pages
from steelyard_server.core.filters import absences, grammar, orders
from steelyard_server.core.filters.absences import AbsentField
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
# What the encoding of an answer adds to a value of the order.
VALUE_BYTES = 3

Entry = TypeVar("Entry")
Other = TypeVar("Other")


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
    """The key of a row that is listed, how the list goes on behind it, and what it is ordered by first."""

    id: int
    position: Position
    order_value: str


@dataclass(frozen=True, slots=True)
class Page(Generic[Entry]):
    """A part of a list.

    Args:
        position: behind it; None when nothing follows.
        order_values: what the first field asked for in the order is of each entry, as text, empty where it
            has none; no values without an order.
        absent_fields: what the filter asks for in vain, when this is the first page and empty.
    """

    entries: list[Entry]
    position: Position | None
    order_values: Sequence[str]
    absent_fields: Sequence[AbsentField]

    def of(self, entries: list[Other]) -> Page[Other]:
        """Return the same page of what its entries were turned into."""
        return Page(entries, self.position, self.order_values, self.absent_fields)


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

    def order_value(self, values: Sequence[Any]) -> str:
        """Write the first of the *values* of a row, if it is of the field that was asked for first."""
        first = self.keys[0]
        return first.field.kind.text(values[0]) if first.leads else ""


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
        for key, *values in rows:
            position = [choices.made, number, *values]
            found.append(Found(key, position, phase.order_value(values)))
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
    filter: str,  # noqa: A002 - as the request calls it
    order_by: str,
    after: Position | None,
) -> Page[Row]:
    """Return a page of rows; see `find`.

    Args:
        statement: reads the rows whose keys are bound as `ids`.
        size_bytes: an estimate of what a row adds to the answer.
    """
    rows_maximum = pages.page_size(page_size)
    found = find(tx, listing, limit=rows_maximum + 1, filter=filter, order_by=order_by, after=after)
    values_bytes = {each.id: pages.utf8_bytes(each.order_value) + VALUE_BYTES for each in found}
    rows, more = pages.by_keys(
        tx,
        statement,
        keys=[each.id for each in found],
        size_bytes=lambda row: size_bytes(row) + values_bytes[row.id],
        rows_maximum=rows_maximum,
        reserved_bytes=_token_bytes(found),
    )
    shown = found[: len(rows)]
    return Page(
        rows,
        shown[-1].position if more else None,
        order_values=[each.order_value for each in shown] if order_by.strip() else [],
        absent_fields=_absent_fields(tx, listing, filter) if not found and after is None else [],
    )


def _absent_fields(tx: Transaction, listing: Listing, filter: str) -> list[AbsentField]:  # noqa: A002
    node = grammar.parse_filter(filter)
    return absences.absent(tx, node, fields=listing.fields, scope=listing.scope)


def passing(conditions: Conditions, scope: Scope, *, filter: str) -> tuple[Node, Condition]:  # noqa: A002
    """Return a filter as a tree, and as the condition that holds for what passes it in *scope*.

    Raises:
        FilterInvalid, MetricAmbiguous, TooLong: with the column where one stands.
    """
    try:
        node = grammar.parse_filter(filter)
        return node, conditions.of(node, scope)
    except Fault as fault:
        raise FilterInvalid(_told(fault, "filter"), field="filter", **_facts(fault)) from None


def _token_bytes(found: Sequence[Found]) -> int:
    """Estimate the page token, whose alphabet needs four characters for three bytes."""
    choices = found[0].position[0] if found else []
    return (KEYS_BYTES + len(orjson.dumps(choices))) * 4 // 3


def _phases(listing: Listing, choices: Choices, *, filter: str, order_by: str) -> list[Phase]:  # noqa: A002
    conditions = Conditions(listing.fields, choices)
    node, _ = passing(conditions, listing.scope, filter=filter)
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
