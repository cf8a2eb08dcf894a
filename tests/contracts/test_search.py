"""Any filter in any order finds, page by page while others write, what plain Python finds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby, islice
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steelyard_server.core import versions
from steelyard_server.db.database import Database
from tests.contracts.search_reference import Order, Record, Term, filters, is_nan, ordered, orders
from tests.contracts.search_registry import MODELS, Filled, filled, key_of

EXAMPLES = settings(
    max_examples=80,
    deadline=None,
    # One registry serves all examples: making one for each would take most of the time.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


Write = Callable[[Filled], Awaitable[None]]
WRITES: tuple[Write, ...] = (Filled.add, Filled.copy, Filled.delete, Filled.undelete, Filled.purge)


@pytest.fixture
async def full(database: Database) -> Filled:
    return await filled(database)


async def pages(
    full: Filled,
    model: str,
    term: Term,
    by: list[Order],
    *,
    page_size: int,
    show_deleted: bool = False,
    writes: Sequence[Write] = (),
) -> list[tuple[str, int]]:
    """Read all pages; behind each of the first ones something is written."""
    listed: list[tuple[str, int]] = []
    query: dict[str, Any] = {"filter": term.text, "order_by": ", ".join(map(repr, by))}
    query["show_deleted"] = show_deleted
    coming = iter(writes)
    after: Any = None
    while True:
        answer = await full.database.read(
            versions.page, model=f"default/{model}", after=after, page_size=page_size, **query
        )
        page, after = answer.entries, answer.position
        assert len(page) == page_size or after is None
        assert len(listed) <= len(full.records) + len(writes), "The list does not end."
        listed += [(version.model.partition("/")[2], version.number) for version in page]
        if after is None:
            return listed
        for write in islice(coming, 1):
            await write(full)


def keys(records: list[Record]) -> list[tuple[str, int]]:
    return [key_of(record) for record in records]


@EXAMPLES
@given(
    term=filters(),
    by=orders(),
    model=st.sampled_from([*MODELS, "-"]),
    page_size=st.integers(1, 30),
    show_deleted=st.booleans(),
)
async def test_pages_hold_what_passes_in_its_order(
    full: Filled, *, term: Term, by: list[Order], model: str, page_size: int, show_deleted: bool
) -> None:
    there = full.current(show_deleted=show_deleted)
    passing = [each for each in there if model in {"-", each.model} and term.passes(each)]
    listed = await pages(full, model, term, by, page_size=page_size, show_deleted=show_deleted)

    assert listed == keys(ordered(passing, by))


@settings(EXAMPLES, max_examples=40)
@given(
    term=filters(),
    by=orders(),
    model=st.sampled_from([MODELS[0], "-"]),
    page_size=st.integers(1, 4),
    show_deleted=st.booleans(),
    writes=st.lists(st.sampled_from(WRITES), max_size=8),
)
async def test_pages_neither_skip_nor_repeat_while_others_write(
    full: Filled,
    *,
    term: Term,
    by: list[Order],
    model: str,
    page_size: int,
    show_deleted: bool,
    writes: list[Write],
) -> None:
    before = {key_of(each): each for each in full.current(show_deleted=True)}
    already = {key for key, each in before.items() if each.delete_time is not None}
    full.ends.clear()
    listed = await pages(full, model, term, by, page_size=page_size, show_deleted=show_deleted, writes=writes)
    after = {key_of(each): each for each in full.current(show_deleted=True)}
    # What was deleted or brought back meanwhile may be listed or not, and what is ordered by it twice.
    ended = {*full.ends}
    once = [key for key in listed if key not in ended or "delete_time" not in repr(by)]
    # `latest` moves with each write.
    still = set() if writes and "latest" in term.text else before.keys() & after.keys() - ended
    still = {key for key in still if before[key] == after[key]}
    shown = still if show_deleted else still - already

    assert len(set(once)) == len(once)
    assert {key for key in shown if model in {"-", key[0]} and term.passes(after[key])} <= set(listed)
    assert still & set(listed) <= {key for key in shown if term.passes(after[key])}
    unmoved = [key for key in listed if key in still]
    assert unmoved == keys(ordered([after[key] for key in unmoved], by))


async def test_the_random_registry_has_ties_absent_values_and_every_kind_of_parameter(full: Filled) -> None:
    """The tests above mean little if all versions are alike."""
    records = full.current()
    for order in ordered_by_ties(records):
        assert max(order) > 1, order
    values = [record.parameters.get("x") for record in records]
    assert {bool, int, float, str} <= {type(value) for value in values}
    assert any(is_nan(value) for record in records for value in record.metrics.values())
    for group in ("metrics", "evaluations"):
        assert len({value for record in records for value in record.measures(group).values()}) > 5
    assert {time for record in records for time, _ in record.evaluations.values()} == {0, 1, 2, 3}
    assert 10 > len([record for record in full.current(show_deleted=True) if record.delete_time]) > 1
    assert len([record for record in records if record.origin]) > 2


def ordered_by_ties(records: list[Record]) -> list[list[int]]:
    def sizes(values: list[str]) -> list[int]:
        return [len(list(group)) for _, group in groupby(sorted(values))]

    return [
        sizes([str(record.labels.get("team")) for record in records]),
        sizes([str(record.metrics.get(("auc", "", ""))) for record in records]),
        sizes([record.description for record in records]),
    ]
