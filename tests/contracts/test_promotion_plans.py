"""Filters of promotions are answered from indexes: many that are closed are not read for a few open ones."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from steelyard_server.core import promotions
from steelyard_server.db.database import Database, Transaction
from tests.contracts.registry import FRAUD, found
from tests.contracts.test_search_plans import Explained

Open = Callable[..., Awaitable[Database]]
WHOLE = "default/-"


@pytest.fixture
async def sqlite(sqlite_path: Path, opened: Open) -> Database:
    database = await opened(sqlite_path)
    await found(database)
    return database


def explain(tx: Transaction, **query: Any) -> str:
    explained = Explained(tx._connection, words="EXPLAIN QUERY PLAN")
    tx._connection = explained
    promotions.page(tx, page_size=20, **query)
    return "\n".join(explained.plans)


@pytest.mark.parametrize(
    ("scope", "filter", "index"),
    [
        (WHOLE, "", "ix_promotions_namespace_id_create_sequence"),
        (FRAUD, "", "ix_promotions_namespace_id_model_id_create_sequence"),
        (WHOLE, "state = open", "ix_promotions_namespace_id_state_create_sequence"),
        (WHOLE, "state = applied", "ix_promotions_namespace_id_state_create_sequence"),
        (WHOLE, "state = superseded", "ix_promotions_namespace_id_state_create_sequence"),
        (WHOLE, "author = ada", "ix_promotions_namespace_id_author_id_create_sequence"),
        (WHOLE, "target.stage = production", "ix_promotions_namespace_target"),
        (FRAUD, "number = 7", "uq_promotions|sqlite_autoindex_promotions"),
    ],
)
async def test_each_filter_reads_the_index_that_was_made_for_it(
    sqlite: Database,
    *,
    scope: str,
    filter: str,  # noqa: A002 - as the list calls it
    index: str,
) -> None:
    plan = await sqlite.read(explain, scope=scope, filter=filter)
    assert re.search(index, plan), plan
    assert "SCAN " not in plan, plan
    assert "TEMP B-TREE" not in plan, plan
