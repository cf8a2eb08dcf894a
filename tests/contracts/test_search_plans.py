"""Filters are answered from indexes, on both databases: they do not read what they do not find."""

from __future__ import annotations

import re
from typing import Any

import pytest

from steelyard_server.core import deletions, evaluations, manifest, versions
from steelyard_server.core.content import Content, Dataset, File, Metric
from steelyard_server.db.database import Database, Transaction
from tests.contracts.registry import BLOB, FRAUD, act
from tests.contracts.registry import number as at

# Enough that PostgreSQL prefers an index to reading all; SQLite does whatever the size.
VERSIONS = 1_500
DIGESTS = [f"sha256:{each:064x}" for each in range(500)]
ONE_LABEL = ('labels.team = "team 3"', "", "ix_version_labels_model_id_name_value_key_number")
A_RANGE = (
    "metrics.auc@holdout > 0.9",
    "metrics.auc@holdout desc",
    "ix_metrics_model_id_name_dataset_slice_value_number",
)
EVALUATED = (
    "evaluations.auc@new > 0.9",
    "evaluations.auc@new desc",
    "ix_evaluated_metrics_model_id_name_dataset_slice_value_number",
)
A_DIGEST = (f"datasets.digest = {DIGESTS[7]}", "", "ix_datasets_model_id_digest_number")


class Explained:
    """A connection that notes the plans of the searches that go through it."""

    def __init__(self, connection: Any, *, words: str) -> None:
        self._connection = connection
        self._words = words
        self.plans: list[str] = []

    def execute(self, sql: str, values: Any = ()) -> Any:
        if "key_0" in sql:
            rows = self._connection.execute(f"{self._words} {sql}", values).fetchall()
            self.plans.append("\n".join(str(row[-1]) for row in rows))
        return self._connection.execute(sql, values)


def dialect(tx: Transaction) -> str:
    return tx._statements.dialect


def explain(tx: Transaction, **query: Any) -> list[str]:
    """Return the plans of a list."""
    words = "EXPLAIN QUERY PLAN" if dialect(tx) == "sqlite" else "EXPLAIN"
    explained = Explained(tx._connection, words=words)
    tx._connection = explained
    versions.page(tx, page_size=20, **query)
    return explained.plans


def fill(tx: Transaction) -> None:
    for number in range(VERSIONS):
        content = Content(
            files=(File(f"f{number}", *BLOB),),
            metrics=(Metric("auc", "holdout", "", number / VERSIONS), Metric("loss", "", "", -number)),
            datasets=(Dataset("train", digest=DIGESTS[number % len(DIGESTS)]),),
        )
        draft = versions.Draft(labels={"team": f"team {number % 5}"}, description=f"word{number}")
        made = versions.create(tx, act(), model=FRAUD, built=manifest.build(content), draft=draft).version
        evaluation = evaluations.Draft((Metric("auc", "new", "", number / VERSIONS),))
        evaluations.record(tx, act(), reference=at(made.number), draft=evaluation)
        if number % 10 == 0:
            deletions.remove(tx, act(), reference=at(made.number))


@pytest.fixture
async def large(registry: Database) -> Database:
    """Fill a model with many versions, and let PostgreSQL count them."""
    await registry.write(fill)
    await registry.write(lambda tx: dialect(tx) == "postgresql" and tx._connection.execute("ANALYZE"))
    return registry


async def test_each_filter_reads_the_index_that_was_made_for_it(large: Database) -> None:
    for text, order, index in (
        ONE_LABEL,
        A_RANGE,
        A_DIGEST,
        ("metrics.auc@holdout > 0.99", "", A_RANGE[2]),
        ("metrics.loss = -7", "", A_RANGE[2]),
        EVALUATED,
        ("evaluations.auc@new > 0.99", "", EVALUATED[2]),
        ("word77", "", "ix_version_words_model_id_word_number"),
        (f"{ONE_LABEL[0]} AND {A_DIGEST[0]}", "", ONE_LABEL[2]),
        (f"{ONE_LABEL[0]} AND {A_DIGEST[0]}", "", A_DIGEST[2]),
    ):
        plans = await large.read(explain, model=FRAUD, filter=text, order_by=order)
        assert index in plans[0], f"{text}\n{plans[0]}"
        assert not re.search(r"Seq Scan on (?!versions|model_words)|SCAN ", plans[0]), f"{text}\n{plans[0]}"


async def test_pages_in_the_order_of_an_index_need_no_sorting_and_end_early(large: Database) -> None:
    """A page then reads as many entries of the index as it has rows, at any size of the model."""
    for text, order in (
        ("", ""),
        ("", "number desc"),
        ("", "metrics.auc@holdout"),
        ("", "metrics.auc@holdout desc"),
        ("", "labels.team desc"),
        (ONE_LABEL[0], ""),
        (ONE_LABEL[0], "number desc"),
        A_RANGE[:2],
        EVALUATED[:2],
    ):
        query = {"model": FRAUD, "filter": text, "order_by": order}
        after = (await large.read(versions.page, **query, page_size=20)).position
        for position in (None, after):
            plans = await large.read(explain, **query, after=position)
            unwanted = re.search(r"Sort|TEMP B-TREE|LIST SUBQUERY|Semi", plans[0])
            assert not unwanted, f"{text} {order} {position}\n{plans[0]}"


async def test_what_a_filter_needs_is_not_looked_for_where_it_is_absent(large: Database) -> None:
    """The second half of a list, of what lacks the first field of its order, is left out if empty."""
    query = {"model": FRAUD, "order_by": "metrics.auc@holdout"}
    for text, searches in (("metrics.auc@holdout > 2", 1), ("metrics.loss > 2", 2), ("", 1)):
        assert len(await large.read(explain, filter=text, **query)) == searches
    # What has no index of its own is read from the narrow one.
    plans = await large.read(explain, model=FRAUD, filter="stage = production AND creator = eve")
    assert await large.read(dialect) == "postgresql" or "COVERING INDEX ix_versions_listed" in plans[0]
