"""Events are found by any filter of theirs, page by page, as plain Python finds them in their bytes."""

from __future__ import annotations

import itertools
import json
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from steelyard_server import errors
from steelyard_server.core import aliases, deletions, events, models, namespaces, registry
from steelyard_server.core.events import Event
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction
from tests.contracts.ends import end, put
from tests.contracts.registry import FRAUD, act, create, found, number, rows

EXAMPLES = settings(
    max_examples=80,
    deadline=None,
    # One registry serves all examples: making one for each would take most of the time.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
ACTORS = ("ada", "grace", "service:ci", "nobody")
ACTIONS = ("version.create", "alias.set", "model.create", "registry.restore", "version.fly")
RESOURCES = (
    *("version/default/fraud:1", "version/default/fraud:2", "alias/default/fraud@champion"),
    *("namespace/other", "namespace/none"),
)
PREFIXES = ("version/", "alias/default/fraud@", "namespace/o", "x")
REASONS = ("ticket 7", "ticket 71", "too slow")
COMPARATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Told:
    """An event as its bytes tell it, and the reason beside it."""

    sequence: int
    time: str
    actor: str
    action: str
    resources: tuple[str, ...]
    reason: str | None


@dataclass(frozen=True)
class Term:
    """A filter, and what it means in Python."""

    text: str
    passes: Callable[[Told], bool]

    def __repr__(self) -> str:
        return self.text


@dataclass
class History:
    """A registry, and its events read without any filter."""

    database: Database
    told: list[Told]
    scopes: dict[str, set[int]]

    def __repr__(self) -> str:
        return f"a history of {len(self.told)} events"


@pytest.fixture
async def history(database: Database) -> History:
    """Let several callers change several things, for reasons and without, at times that repeat."""
    await found(database)
    why = itertools.cycle(("", *REASONS))
    who = itertools.cycle(ACTORS[:3])
    for seed in range(1, 5):
        await create(database, seed)
        await put(database, "champion", seed)
        written = act(next(who), reason=next(why))
        await database.write(aliases.put, written, reference=number(1), name=f"a{seed}")
    await database.write(namespaces.create, act("grace", reason="ticket 7"), name="other")
    await database.write(models.create, act("service:ci"), name="other/churn", draft=models.Draft())
    await end(database, 2)
    await database.write(deletions.remove, act("grace", reason="too slow"), reference=number(3))
    await database.write(
        registry.begin_epoch, act("steelyard"), backup_sequence=1, registry_digest="sha256:a"
    )
    told = await database.read(all_told)
    uids = {"default": "namespace_uid", "other": "namespace_uid", FRAUD: "model_uid"}
    first = {row[0]: row for row in await database.read(rows, tables.events)}
    columns = [column.name for column in tables.events.c]
    at = {name: columns.index(name) for name in ("namespace_uid", "model_uid")}
    own = {
        "default": 1,
        FRAUD: 2,
        "other": next(t.sequence for t in told if "namespace/other" in t.resources),
    }
    scopes = {
        scope: {s for s, row in first.items() if row[at[kind]] == first[own[scope]][at[kind]]}
        for scope, kind in uids.items()
    }
    return History(database, told, scopes | {"": set(first)})


def all_told(tx: Transaction) -> list[Told]:
    reasons = {
        row.sequence: row.content for row in tx.all(select(tables.event_texts)) if row.name == "reason"
    }
    found = []
    for row in tx.all(select(tables.events).order_by(tables.events.c.sequence)):
        event = json.loads(row.content)
        resources = tuple(change["resource"] for change in event["changes"])
        reason = reasons.get(row.sequence)
        found.append(
            Told(row.sequence, event["time"], event["actor"]["id"], event["action"], resources, reason)
        )
    return found


def compared(field: str, comparator: str, value: Any, *, written: str = "") -> Term:
    compare = COMPARATORS[comparator]
    return Term(f"{field} {comparator} {written or value}", lambda told: compare(getattr(told, field), value))


def of_any(field: str, comparator: str, value: str, get: Callable[[Told], list[str]]) -> Term:
    star = value.removesuffix("*") if value.endswith("*") else None

    def passes(told: Told) -> bool:
        same = [each.startswith(star) if star is not None else each == value for each in get(told)]
        return any(same) if comparator == "=" else any(not each for each in same)

    return Term(f'{field} {comparator} "{value}"', passes)


def leaves(times: list[str]) -> st.SearchStrategy[Term]:
    any_comparator, equality = st.sampled_from(sorted(COMPARATORS)), st.sampled_from(("=", "!="))
    valued = st.sampled_from([*RESOURCES, *(f"{prefix}*" for prefix in PREFIXES)])
    reasons = st.sampled_from([*REASONS, "ticket*"])
    return st.one_of(
        st.builds(lambda c, v: compared("sequence", c, v), any_comparator, st.integers(0, 25)),
        st.builds(
            lambda c, v: compared("time", c, v, written=f'"{v}"'), any_comparator, st.sampled_from(times)
        ),
        st.builds(
            lambda c, v: compared("actor", c, v, written=f'"{v}"'), any_comparator, st.sampled_from(ACTORS)
        ),
        st.builds(lambda c, v: compared("action", c, v), equality, st.sampled_from(ACTIONS)),
        st.builds(lambda c, v: of_any("resource", c, v, lambda told: list(told.resources)), equality, valued),
        st.builds(
            lambda c, v: of_any("reason", c, v, lambda told: [told.reason] if told.reason else []),
            *(equality, reasons),
        ),
        st.just(Term("reason:*", lambda told: told.reason is not None)),
    )


def joined(terms: st.SearchStrategy[Term]) -> st.SearchStrategy[Term]:
    def both(a: Term, b: Term) -> Term:
        return Term(f"({a.text} AND {b.text})", lambda told: a.passes(told) and b.passes(told))

    def either(a: Term, b: Term) -> Term:
        return Term(f"({a.text} OR {b.text})", lambda told: a.passes(told) or b.passes(told))

    def neither(a: Term) -> Term:
        return Term(f"(NOT ({a.text}))", lambda told: not a.passes(told))

    return st.builds(both, terms, terms) | st.builds(either, terms, terms) | st.builds(neither, terms)


async def pages(history: History, *, page_size: int, **query: Any) -> list[int]:
    """Read all pages of a list."""
    listed: list[int] = []
    after: Any = None
    while True:
        page, after = await history.database.read(events.page, after=after, page_size=page_size, **query)
        assert len(page) == page_size or after is None
        listed += [event.sequence for event in page]
        if after is None:
            return listed


@EXAMPLES
@given(data=st.data())
async def test_pages_hold_what_passes_in_either_direction(history: History, data: st.DataObject) -> None:
    times = sorted({told.time for told in history.told} | {"1999-01-01T00:00:00Z", "2999-01-01T00:00:00Z"})
    term = data.draw(st.recursive(leaves(times), joined, max_leaves=5))
    scope = data.draw(st.sampled_from(sorted(history.scopes)))
    order, page_size = (
        data.draw(st.sampled_from(("", "sequence desc", "time desc"))),
        data.draw(st.integers(1, 9)),
    )
    query = {"scope": scope, "filter": term.text, "order_by": order}

    listed = await pages(history, page_size=page_size, **query)

    inside = history.scopes[scope]
    expected = [told.sequence for told in history.told if told.sequence in inside and term.passes(told)]
    assert listed == (expected[::-1] if order else expected)
    assert await followed(history, scope=scope, filter=term.text, rows_maximum=page_size) == expected


async def followed(history: History, *, scope: str, filter: str, rows_maximum: int) -> list[int]:  # noqa: A002
    """Read what a watch reads, from the beginning to the newest."""
    wanted = await history.database.read(events.follow, scope=scope, filter=filter)
    found: list[Event] = []
    after = 0
    while after < history.told[-1].sequence:
        read = {"rows_maximum": rows_maximum, "bytes_maximum": 1 << 20}
        portion = await history.database.read(events.following, wanted, after=after, **read)
        after = portion.reached
        assert len(portion.events) <= rows_maximum
        assert all(event.sequence <= after for event in portion.events)
        found += portion.events
    return [event.sequence for event in found]


async def test_the_history_of_the_tests_above_has_every_kind_of_event(history: History) -> None:
    assert {told.actor for told in history.told} > set(ACTORS[:3])
    assert {told.action for told in history.told} > set(ACTIONS[:4])
    assert {resource for told in history.told for resource in told.resources} >= set(RESOURCES[:4])
    assert {told.reason for told in history.told} >= {None, *REASONS}
    sizes = {scope: len(inside) for scope, inside in history.scopes.items()}
    assert sizes[""] > sizes["default"] > sizes[FRAUD] > sizes["other"] > 1


async def test_the_whole_registry_has_what_concerns_no_namespace(history: History) -> None:
    page, _ = await history.database.read(events.page, order_by="sequence desc", page_size=1)
    assert [event.action for event in page] == ["registry.restore"]


@pytest.mark.parametrize(
    ("filter", "column", "expected"),
    [
        ("actr = ada", 1, "perhaps actor"),
        ("actor = ada AND stage = production", 17, "one of sequence, time, actor, action, resource, reason"),
        ("fraud", 1, "a field and a comparator"),
        ("time > yesterday", 8, "a time such as"),
        ("sequence = first", 12, "a number"),
        ("actor.name = ada", 1, "one of sequence"),
        ("action = alias.set AND (actor = ada", 36, "a closing parenthesis"),
        ('reason = ""', 10, "a text"),
        ("metrics.f1 > 1", 1, "one of sequence"),
    ],
)
async def test_a_wrong_filter_says_where(database: Database, filter: str, column: int, expected: str) -> None:  # noqa: A002
    for read in (events.page, events.follow):
        with pytest.raises(errors.FilterInvalid, match=rf"^Column {column} of `filter`:") as raised:
            await database.read(read, scope="", filter=filter)
        assert re.search(expected, str(raised.value.metadata["expected"]))


@pytest.mark.parametrize(("order", "column"), [("resource", 1), ("sequence desc, sequence", 16), ("size", 1)])
async def test_a_wrong_order_says_where(database: Database, order: str, column: int) -> None:
    with pytest.raises(errors.OrderByInvalid, match=rf"^Column {column} of `order_by`:"):
        await database.read(events.page, order_by=order)
