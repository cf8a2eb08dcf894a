"""Any filter in any order finds, page by page while others write, what plain Python finds."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steelyard_server.core import versions
from steelyard_server.db.database import Database
from tests.contracts.search_reference import Order, Record, Term, filters, is_nan, ordered, orders
from tests.contracts.search_registry import MODELS, Filled, filled

EXAMPLES = settings(
    max_examples=80,
    deadline=None,
    # One registry serves all examples: making one for each would take most of the time.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
async def full(database: Database) -> Filled:
    return await filled(database)


async def pages(
    full: Filled, model: str, term: Term, by: list[Order], *, page_size: int, writes: int = 0
) -> list[tuple[str, int]]:
    """Read all pages; before each of the first ones another version is made."""
    listed: list[tuple[str, int]] = []
    query: dict[str, Any] = {"filter": term.text, "order_by": ", ".join(map(repr, by))}
    after: Any = None
    while True:
        page, after = await full.database.read(
            versions.page, model=f"default/{model}", after=after, page_size=page_size, **query
        )
        assert len(page) == page_size or after is None
        listed += [(version.model.partition("/")[2], version.number) for version in page]
        if after is None:
            return listed
        if writes:
            writes -= 1
            await full.add()


def keys(records: list[Record]) -> list[tuple[str, int]]:
    return [(record.model, record.number) for record in records]


@EXAMPLES
@given(term=filters(), by=orders(), model=st.sampled_from([*MODELS, "-"]), page_size=st.integers(1, 30))
async def test_pages_hold_what_passes_in_its_order(
    full: Filled, term: Term, by: list[Order], model: str, page_size: int
) -> None:
    passing = [each for each in full.current() if model in {"-", each.model} and term.passes(each)]

    assert await pages(full, model, term, by, page_size=page_size) == keys(ordered(passing, by))


@settings(EXAMPLES, max_examples=30)
@given(term=filters(), by=orders(), model=st.sampled_from([MODELS[0], "-"]), page_size=st.integers(1, 4))
async def test_pages_neither_skip_nor_repeat_while_others_write(
    full: Filled, term: Term, by: list[Order], model: str, page_size: int
) -> None:
    # What `latest` means moves with each write, as it should.
    before = [] if "latest" in term.text else [each for each in full.current() if model in {"-", each.model}]
    listed = await pages(full, model, term, by, page_size=page_size, writes=3)
    after = {(each.model, each.number): each for each in full.current()}

    assert len(set(listed)) == len(listed)
    assert {key for key in keys(before) if term.passes(after[key])} <= set(listed)
    assert listed == keys(ordered([after[key] for key in listed], by))
    assert "latest" in term.text or all(term.passes(after[key]) for key in listed)


async def test_the_random_registry_has_ties_absent_values_and_every_kind_of_parameter(full: Filled) -> None:
    """The tests above mean little if all versions are alike."""
    records = full.current()
    for order in ordered_by_ties(records):
        assert max(order) > 1, order
    values = [record.parameters.get("x") for record in records]
    assert {bool, int, float, str} <= {type(value) for value in values}
    assert any(is_nan(value) for record in records for value in record.metrics.values())


def ordered_by_ties(records: list[Record]) -> list[list[int]]:
    def sizes(values: list[str]) -> list[int]:
        return [len(list(group)) for _, group in groupby(sorted(values))]

    return [
        sizes([str(record.labels.get("team")) for record in records]),
        sizes([str(record.metrics.get(("auc", "", ""))) for record in records]),
        sizes([record.description for record in records]),
    ]
