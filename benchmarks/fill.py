"""Databases with many versions, made by the server's own rules but without calls."""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks.sample import ALIAS, FILE_BYTES, FILES, METRICS, MODEL
from steelyard_server.core import aliases, blobs, manifest, models, namespaces, references, versions
from steelyard_server.core.content import Content, File, Metric
from steelyard_server.db.database import Transaction, open_database
from steelyard_server.history.act import Act
from steelyard_server.history.caller import Caller

BATCH = 1_000

_ACT = Act(Caller("benchmark"))


async def fill(location: Path | str, *, count: int) -> None:
    """Fill an empty database, a file or a URL, with one model of *count* versions.

    That is done by the server's own rules but without calls. The files are recorded and not there, so
    the rows that use it move no bytes.
    """
    database = await open_database(location)
    await database.write(namespaces.ensure_default, _ACT)
    await database.write(models.create, _ACT, name=MODEL, draft=models.Draft())
    held = [(f"sha256:{digest}", FILE_BYTES) for digest in FILES.values()]
    await database.write(blobs.record, namespace="default", blobs=held)
    for begin in range(0, count, BATCH):
        await database.write(_create_versions, numbers=range(begin, min(begin + BATCH, count)))
    reference = references.Reference(MODEL, "number", count)
    await database.write(aliases.put, _ACT, reference=reference, name=ALIAS)
    await database.close()


def filled(directory: Path, *, count: int) -> Path:
    """Run `fill` on the database of a server in *directory*, and return that."""
    asyncio.run(fill(directory / "registry.db", count=count))
    return directory


def _create_versions(tx: Transaction, *, numbers: range) -> None:
    files = tuple(
        File(path, digest=f"sha256:{digest}", size_bytes=FILE_BYTES) for path, digest in FILES.items()
    )
    for number in numbers:
        metrics = tuple(
            Metric(name, dataset="", slice="", value=number + index / 10)
            for index, name in enumerate(METRICS)
        )
        built = manifest.build(Content(files=files, metrics=metrics))
        versions.create(tx, _ACT, model=MODEL, built=built, draft=versions.Draft())
