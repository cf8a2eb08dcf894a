"""What statements and values are, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import math
from typing import Any

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from steelyard_server.db import tables
from steelyard_server.db.database import Database, Row, Transaction
from steelyard_server.db.statements import any_of, insert_generated, insert_new
from tests.contracts.blob_rows import ADD_BLOB, BLOB, BLOBS, RESIZE, add, blob, digests

INT64_EXTREMES = (-(2**63), -1, 0, 1, 2**53 + 1, 2**63 - 1)
ODD_TEXTS = (
    "",
    " ",
    "'; DROP TABLE x; --",
    "%s %(x)s :x ?",
    "é",
    "e\u0301",
    "ß",
    "日本語",
    "🦉\U0010ffff",
    "\u202e\ufeff\ufffe",
)

ANY_AMOUNT = {
    "quota_size_bytes": 0,
    "quota_versions_count": 0,
    "retention_keep_versions_count": 0,
    "retention_keep_seconds": 0,
    "retention_purge_after_seconds": 0,
}
ADD_MANIFEST = insert(tables.manifests)
MANIFESTS = select(tables.manifests.c.digest, tables.manifests.c.content).order_by(tables.manifests.c.digest)
ADD_NEW_BLOB = insert_new(tables.blobs)
BLOBS_OF = select(tables.blobs.c.digest).where(any_of(tables.blobs.c.digest, "digests"))
BLOBS_SIZED = select(tables.blobs.c.digest).where(any_of(tables.blobs.c.size_bytes, "sizes"))
TOTAL = select(func.sum(tables.blobs.c.size_bytes).label("total"))


def found(tx: Transaction, wanted: list[str]) -> set[str]:
    return {row.digest for row in tx.all(BLOBS_OF, digests=wanted)}


async def test_rows_have_names_and_unpack(database: Database) -> None:
    await database.write(lambda tx: tx.run(ADD_BLOB, blob("a", 7)))
    row = await database.read(lambda tx: tx.one(BLOBS))
    assert row is not None
    digest, size_bytes = row
    assert (digest, size_bytes) == (row.digest, row.size_bytes) == (row[0], row[1]) == ("a", 7)
    assert await database.read(lambda tx: tx.one(BLOB, digest="none")) is None
    assert await database.read(lambda tx: tx.all(BLOBS_OF, digests=[])) == []


async def test_columns_of_one_name_stay_apart(database: Database) -> None:
    both = select(tables.registry.c.id, tables.registry.c.sequence.label("id"))
    row = await database.read(lambda tx: tx.one(both))
    assert row is not None
    assert tuple(row) == (1, 0)


async def test_integers_keep_all_64_bits(database: Database) -> None:
    for size_bytes in INT64_EXTREMES:
        await database.write(add, str(size_bytes), size_bytes)
    rows: list[Row] = await database.read(lambda tx: tx.all(BLOBS))
    assert {row.digest: row.size_bytes for row in rows} == {str(number): number for number in INT64_EXTREMES}


async def test_sums_of_integers_are_integers(database: Database) -> None:
    await database.write(lambda tx: tx.run(ADD_BLOB, [blob("a", 2**53), blob("b", 1)]))
    row = await database.read(lambda tx: tx.one(TOTAL))
    assert row is not None
    assert (type(row.total), row.total) == (int, 2**53 + 1)


async def test_text_and_bytes_come_back_as_they_were(database: Database) -> None:
    content = bytes(range(256)) * 3
    add_manifest = insert(tables.manifests)
    await database.write(
        lambda tx: tx.run(add_manifest, [{"digest": odd, "content": content} for odd in ODD_TEXTS])
    )
    rows = await database.read(lambda tx: tx.all(select(tables.manifests)))
    assert {row.digest: row.content for row in rows} == dict.fromkeys(ODD_TEXTS, content)
    assert {type(row.content) for row in rows} == {bytes}


async def test_many_rows_at_once_are_what_was_given(database: Database) -> None:
    """A stream to PostgreSQL has escapes and a word for null of its own."""
    texts = [*ODD_TEXTS, "\\N", "\\", "a\tb", "a\nb", "\r", "\\.", "\x01"]
    manifests = [{"digest": text, "content": text.encode() + b"\x00\\"} for text in texts]
    await database.write(lambda tx: tx.fill(ADD_MANIFEST, manifests))
    rows = await database.read(lambda tx: tx.all(MANIFESTS))
    assert [dict(zip(("digest", "content"), row, strict=True)) for row in rows] == sorted(
        manifests, key=lambda each: str(each["digest"]).encode()
    )


async def test_numbers_of_many_rows_at_once_keep_every_bit(database: Database) -> None:
    values = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, 0.1, 1 / 3]
    given = [metric(str(index), value) for index, value in enumerate(values)]
    await database.write(add_metrics, given)
    rows = await database.read(lambda tx: tx.all(select(tables.metrics).order_by(tables.metrics.c.name)))
    assert [repr(row.value) for row in rows] == [repr(tables.comparable(value)) for value in values]


@pytest.mark.parametrize("count", [1, 100])
async def test_one_row_that_is_there_keeps_all_of_many_out(database: Database, count: int) -> None:
    names = [str(index) for index in range(count)]
    await database.write(add, "0", 7)
    with pytest.raises(Exception, match=r"(?i)unique|colliding"):
        await database.write(lambda tx: tx.fill(ADD_BLOB, [blob(name) for name in names]))
    assert await database.read(digests) == ["0"]


async def test_text_is_ordered_by_its_bytes(database: Database) -> None:
    names = [
        "a",
        "B",
        "b",
        "A",
        "_",
        "-",
        "é",
        "e\u0301",
        "z",
        "Z",
        "\uffff",
        "\U00010000",
        "10",
        "9",
        "",
        "ä",
    ]
    await database.write(lambda tx: tx.run(ADD_BLOB, [blob(name) for name in names]))
    assert await database.read(digests) == sorted(names, key=lambda name: name.encode())


async def test_doubles_are_ordered_alike_with_nan_last(database: Database) -> None:
    values = {
        "nan": math.nan,
        "inf": math.inf,
        "-inf": -math.inf,
        "-0": -0.0,
        "tiny": 5e-324,
        "max": 1.7976931348623157e308,
    }
    metrics = [metric(name, value) for name, value in values.items()]
    await database.write(add_metrics, metrics)
    order = select(tables.metrics.c.name, tables.metrics.c.value).order_by(
        tables.metrics.c.value.desc().nulls_last()
    )
    rows = await database.read(lambda tx: tx.all(order))
    assert [(row.name, row.value) for row in rows] == [
        ("inf", math.inf),
        ("max", 1.7976931348623157e308),
        ("tiny", 5e-324),
        ("-0", 0.0),
        ("-inf", -math.inf),
        ("nan", None),
    ]


def metric(name: str, value: float) -> dict[str, Any]:
    names = {"name": name, "dataset": "", "slice": ""}
    return {**names, "number": 1, "value": tables.comparable(value), "value_text": repr(value)}


def add_metrics(tx: Transaction, metrics: list[dict[str, Any]]) -> None:
    """Insert metrics, and the rows they must belong to."""
    stamps = {
        "uid": "u",
        "description": "",
        "labels": "{}",
        **ANY_AMOUNT,
        "create_time": 0,
        "update_time": 0,
        "sequence": 1,
    }
    namespace_id = generated(tx, tables.namespaces, name="default", stages="[]", **stamps)
    by = {"creator": "{}", "creator_id": "ada"}
    model = {"owners": "[]", "metric_directions": "{}", "name": "m"}
    model |= {"last_number": 1, "latest_number": 1, "delete_time": None, "purge_time": None}
    model_id = generated(tx, tables.models, namespace_id=namespace_id, **model, **by, **stamps)
    tx.run(insert(tables.manifests), {"digest": "d", "content": b""})
    once = dict.fromkeys(
        ("semantic_version", "idempotency_key", "origin", "marks", "import_time", "delete_time")
    )
    rest = {"stage": "", "summary": "{}", "details": "{}", "file_count": 1, "size_bytes": 1}
    version_id = generated(
        tx, tables.versions, model_id=model_id, number=1, digest="d", **once, **rest, **by, **stamps
    )
    tx.fill(
        insert(tables.metrics), [{**row, "model_id": model_id, "version_id": version_id} for row in metrics]
    )


def generated(tx: Transaction, /, table: Any, **values: Any) -> int:
    row = tx.one(insert_generated(table), **values)
    assert row is not None
    key: int = row.id
    return key


async def test_generated_keys_differ(database: Database) -> None:
    stamps = {
        "description": "",
        "stages": "[]",
        "labels": "{}",
        **ANY_AMOUNT,
        "create_time": 0,
        "update_time": 0,
        "sequence": 1,
    }
    keys = [
        await database.write(generated, tables.namespaces, uid=name, name=name, **stamps) for name in "abc"
    ]
    assert len(set(keys)) == 3


async def test_any_of_takes_a_list_of_any_length_as_one_value(database: Database) -> None:
    known = [f'it\'s "{number}" {{}} \\ é' for number in range(3000)]
    await database.write(lambda tx: tx.run(ADD_BLOB, [blob(name, at) for at, name in enumerate(known)]))
    for wanted in ([], known[:1], known[::2], [*known, "unknown"]):
        assert await database.read(found, wanted) == set(wanted) & set(known)
    rows = await database.read(lambda tx: tx.all(BLOBS_SIZED, sizes=[5, 2**62]))
    assert [row.digest for row in rows] == [known[5]]


async def test_insert_new_skips_what_exists_and_counts_the_rest(database: Database) -> None:
    assert await database.write(lambda tx: tx.run(ADD_NEW_BLOB, blob("a", 1))) == 1
    assert await database.write(lambda tx: tx.run(ADD_NEW_BLOB, blob("a", 2))) == 0
    many = [blob(name, 3) for name in "abcb"]
    assert await database.write(lambda tx: tx.run(ADD_NEW_BLOB, many)) == 2
    rows = await database.read(lambda tx: tx.all(BLOBS))
    assert [tuple(row) for row in rows] == [("a", 1), ("b", 3), ("c", 3)]


async def test_an_upsert_is_written_once_for_both_databases(database: Database) -> None:
    statement = upsert(tables.blobs)
    statement = statement.on_conflict_do_update(
        index_elements=["digest"], set_={"size_bytes": statement.excluded.size_bytes}
    )
    for size_bytes in (1, 2):
        await database.write(Transaction.run, statement, blob("a", size_bytes))
    row = await database.read(lambda tx: tx.one(BLOBS))
    assert row is not None
    assert row.size_bytes == 2


async def test_run_counts_affected_rows(database: Database) -> None:
    assert await database.write(lambda tx: tx.run(ADD_BLOB, [blob("a"), blob("b")])) == 2
    assert await database.write(lambda tx: tx.run(ADD_BLOB, [])) == 0
    assert await database.write(lambda tx: tx.run(RESIZE, {"of": "a", "by": 1})) == 1
    assert await database.write(lambda tx: tx.run(RESIZE, {"of": "none", "by": 1})) == 0


async def test_a_value_that_is_missing_is_an_error(database: Database) -> None:
    with pytest.raises(Exception, match="digest"):
        await database.read(lambda tx: tx.one(BLOB))


async def test_a_literal_list_is_refused_with_advice(database: Database) -> None:
    statement = select(tables.blobs.c.digest).where(tables.blobs.c.digest.in_(["a", "b"]))
    with pytest.raises(TypeError, match="any_of"):
        await database.read(lambda tx: tx.all(statement))
