"""Filters of events are answered from indexes: a long history is not read through for a few of them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from steelyard_server.core import events
from steelyard_server.db.database import Database, Transaction
from tests.contracts.registry import FRAUD, found
from tests.contracts.test_search_plans import Explained

Open = Callable[..., Awaitable[Database]]


@pytest.fixture
async def sqlite(sqlite_path: Path, opened: Open) -> Database:
    database = await opened(sqlite_path)
    await found(database)
    return database


def explain(tx: Transaction, **query: Any) -> str:
    explained = Explained(tx._connection, words="EXPLAIN QUERY PLAN")
    tx._connection = explained
    events.page(tx, page_size=20, **query)
    (plan,) = explained.plans
    return plan


@pytest.mark.parametrize("order", ["", "sequence desc"])
@pytest.mark.parametrize(
    ("scope", "filter", "index"),
    [
        ("", "actor = ada", "ix_events_actor_sequence"),
        ("", 'action = "alias.*"', "ix_events_action_sequence"),
        ("", 'resource = "alias/default/fraud@champion"', "event_resources USING PRIMARY KEY"),
        ("", "time >= 2026-01-01", "timed USING COVERING INDEX ix_events_event_time_sequence"),
        ("default", "", "ix_events_namespace_uid_sequence"),
        (FRAUD, "", "ix_events_model_uid_sequence"),
        (FRAUD, "time < 2026-01-01 AND reason:*", "event_texts USING PRIMARY KEY"),
    ],
)
async def test_each_filter_reads_the_index_that_was_made_for_it(
    sqlite: Database,
    *,
    scope: str,
    filter: str,  # noqa: A002 - as the list calls it
    index: str,
    order: str,
) -> None:
    plan = await sqlite.read(explain, scope=scope, filter=filter, order_by=order)
    assert index in plan, plan
    assert not re.search(r"SCAN ", plan), plan


async def test_the_whole_history_is_read_in_its_order_and_ends_early(sqlite: Database) -> None:
    for order in ("", "sequence desc", "time desc"):
        plan = await sqlite.read(explain, order_by=order)
        assert "TEMP B-TREE" not in plan, plan
