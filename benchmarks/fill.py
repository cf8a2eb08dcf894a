"""Databases with many versions, made by the server's own rules but without calls."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from benchmarks.sample import ALIAS, DATASETS, FILE_BYTES, FILES, METRICS, MODEL, TEAMS
from steelyard_server.core import aliases, blobs, manifest, models, namespaces, references, versions
from steelyard_server.core.content import Content, Dataset, File, Metric
from steelyard_server.core.drafts import Draft
from steelyard_server.db.database import Transaction, open_database
from steelyard_server.history.act import Act
from steelyard_server.history.caller import Caller

BATCH = 1_000

_ACT = Act(Caller("benchmark"))
_FILES = tuple(File(path, digest=f"sha256:{digest}", size_bytes=FILE_BYTES) for path, digest in FILES.items())


Make = Callable[[int], tuple[Content, Draft]]


async def fill(location: Path | str, *, count: int, make: Make | None = None) -> None:
    """Fill an empty database, a file or a URL, with one model of *count* versions.

    That is done by the server's own rules but without calls. The files are recorded and not there, so
    the rows that use it move no bytes.

    Args:
        make: content and fields of each version by its number from 0; by default three metrics and no more.
    """
    database = await open_database(location)
    await database.write(namespaces.ensure_default, _ACT)
    await database.write(models.create, _ACT, name=MODEL, draft=models.Draft())
    held = [(f"sha256:{digest}", FILE_BYTES) for digest in FILES.values()]
    await database.write(blobs.record, namespace="default", blobs=held)
    for begin in range(0, count, BATCH):
        numbers = range(begin, min(begin + BATCH, count))
        await database.write(_create_versions, numbers=numbers, make=make or _plain)
    reference = references.Reference(MODEL, "number", count)
    await database.write(aliases.put, _ACT, reference=reference, name=ALIAS)
    await database.close()


def filled(directory: Path, *, count: int) -> Path:
    """Run `fill` on the database of a server in *directory*, and return that."""
    asyncio.run(fill(directory / "registry.db", count=count))
    return directory


def searched(location: Path | str, *, count: int) -> None:
    """Run `fill` with versions that differ in labels, metrics on a dataset, and digests of datasets."""
    asyncio.run(fill(location, count=count, make=_differing))


def _create_versions(tx: Transaction, *, numbers: range, make: Make) -> None:
    for number in numbers:
        content, draft = make(number)
        versions.create(tx, _ACT, model=MODEL, built=manifest.build(content), draft=draft)


def _plain(number: int) -> tuple[Content, Draft]:
    metrics = tuple(
        Metric(name, dataset="", slice="", value=number + index / 10) for index, name in enumerate(METRICS)
    )
    return Content(files=_FILES, metrics=metrics), Draft()


def _differing(number: int) -> tuple[Content, Draft]:
    dice = random.Random(number)  # noqa: S311 - the same versions in every run
    metrics = tuple(Metric(name, dataset="holdout", slice="", value=dice.random()) for name in METRICS)
    # Its own number, for content must differ.
    metrics += (Metric("step", dataset="", slice="", value=number),)
    datasets = (Dataset("train", digest=DATASETS[number % len(DATASETS)]),)
    draft = Draft(labels={"team": TEAMS[number % len(TEAMS)]})
    return Content(files=_FILES, metrics=metrics, datasets=datasets), draft
