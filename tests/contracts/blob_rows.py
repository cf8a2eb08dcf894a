"""Rows of blobs, the plainest table, for tests of the database itself."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, insert, select, update

from steelyard_server.db import tables
from steelyard_server.db.database import Transaction

ADD_BLOB = insert(tables.blobs)
BLOBS = select(tables.blobs.c.digest, tables.blobs.c.size_bytes).order_by(tables.blobs.c.digest)
BLOB = select(tables.blobs.c.size_bytes).where(tables.blobs.c.digest == bindparam("digest"))
RESIZE = (
    update(tables.blobs)
    .where(tables.blobs.c.digest == bindparam("of"))
    .values(size_bytes=tables.blobs.c.size_bytes + bindparam("by"))
)


def blob(digest: str, size_bytes: int = 1) -> dict[str, Any]:
    times = {"create_time": 0, "condemn_time": None, "verify_time": None}
    return {"digest": digest, "size_bytes": size_bytes} | times


def add(tx: Transaction, digest: str, size_bytes: int = 1) -> str:
    tx.run(ADD_BLOB, blob(digest, size_bytes))
    return digest


def digests(tx: Transaction) -> list[str]:
    return [row.digest for row in tx.all(BLOBS)]
