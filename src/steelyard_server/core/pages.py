"""Pages of lists: bounded by rows and by bytes, keyed by the last row, stable while others write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard_server.errors import PageSizeInvalid
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Select

    from steelyard_server.db.database import Row, Transaction

# Rows may carry texts of 128 KiB and summaries of 512 KiB, so they are read in small portions.
PORTION_ROWS = 64

After = dict[str, Any]


def utf8_bytes(*texts: str | None) -> int:
    """Sum the sizes of texts as an answer has them."""
    return sum(len(text.encode()) for text in texts if text)


def page_size(wanted: int) -> int:
    """Turn the wish of a request into a number of rows.

    Raises:
        PageSizeInvalid: it is negative.
    """
    if wanted < 0:
        raise PageSizeInvalid(f"`page_size` is {wanted}; send 0 for the default.", field="page_size")
    return min(wanted or LIMITS.page_size_default, LIMITS.page_size_maximum)


def take(
    tx: Transaction,
    statement: Select[Any],
    *,
    after: After,
    key: Callable[[Row], After],
    size_bytes: Callable[[Row], int],
    rows_maximum: int,
    values: Mapping[str, Any],
    bytes_maximum: int = LIMITS.page_bytes,
) -> tuple[list[Row], bool]:
    """Read the rows that follow *after* until the page is full; say whether more follow.

    Args:
        statement: ordered, with the binds of *after* and a bind `limit`.
        key: the binds that make the statement go on behind a row.
        size_bytes: an estimate of what a row adds to the answer.
    """
    rows: list[Row] = []
    total_bytes = 0
    while True:
        limit = min(PORTION_ROWS, rows_maximum - len(rows) + 1)
        portion = tx.all(statement, limit=limit, **after, **values)
        for row in portion:
            total_bytes += size_bytes(row)
            if len(rows) == rows_maximum or (rows and total_bytes > bytes_maximum):
                return rows, True
            rows.append(row)
        if len(portion) < limit:
            return rows, False
        after = key(portion[-1])


def by_keys(
    tx: Transaction,
    statement: Select[Any],
    *,
    keys: Sequence[int],
    size_bytes: Callable[[Row], int],
    rows_maximum: int,
    reserved_bytes: int,
) -> tuple[list[Row], bool]:
    """Read rows in the order of their *keys* until the page is full; say whether some are left.

    Args:
        reserved_bytes: what is kept free for the page token.
        statement: with a bind `ids`; its rows have an `id`.
        size_bytes: an estimate of what a row adds to the answer.
    """
    rows: list[Row] = []
    total_bytes = 0
    for begin in range(0, len(keys), PORTION_ROWS):
        portion = keys[begin : begin + PORTION_ROWS]
        found = {row.id: row for row in tx.all(statement, ids=list(portion))}
        for row in map(found.__getitem__, portion):
            total_bytes += size_bytes(row)
            if len(rows) == rows_maximum or (rows and total_bytes > LIMITS.page_bytes - reserved_bytes):
                return rows, True
            rows.append(row)
    return rows, False
