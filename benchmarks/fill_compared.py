"""Versions to compare, made by the server's own rules but without calls."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmarks.sample import COMPARED, COMPARED_VERSIONS
from steelyard_server.core import blobs, evaluations, manifest, models, namespaces, references, versions
from steelyard_server.core.content import Content, Dataset, File, Metric, Parameter
from steelyard_server.core.drafts import Draft
from steelyard_server.db.database import open_database
from steelyard_server.history.act import Act
from steelyard_server.history.caller import Caller

FILES, METRICS, PARAMETERS = 100, 50, 40
FILE_BYTES = 1 << 20

_ACT = Act(Caller("benchmark"))


async def fill(location: str | Path, *, files: int) -> None:
    """Make a database with a model of twenty versions of *files* files, which are recorded and not there."""
    database = await open_database(location)
    await database.write(namespaces.ensure_default, _ACT)
    directions = {f"metric-{index}": "higher-is-better" for index in range(METRICS)}
    await database.write(models.create, _ACT, name=COMPARED, draft=models.Draft(metric_directions=directions))
    for number in range(COMPARED_VERSIONS):
        content = _content(number, files=files)
        held = [(file.digest, file.size_bytes) for file in content.files]
        await database.write(blobs.record, namespace="default", blobs=held)
        draft = Draft()
        await database.write(
            versions.create, _ACT, model=COMPARED, built=manifest.build(content), draft=draft
        )
        measured = evaluations.Draft(content.metrics, content.datasets)
        reference = references.Reference(COMPARED, "number", number + 1)
        await database.write(evaluations.record, _ACT, reference=reference, draft=measured)
    await database.close()


def _content(number: int, *, files: int) -> Content:
    """Make content of which a tenth of the files and half of the parameters are of this version only."""
    return Content(
        files=tuple(
            File(f"shards/{index:05}.bin", _digest(index, number if index % 10 == 0 else 0), FILE_BYTES)
            for index in range(files)
        ),
        parameters=tuple(
            Parameter(f"parameter-{index}", number if index % 2 else index) for index in range(PARAMETERS)
        ),
        metrics=tuple(
            Metric(f"metric-{index}", "holdout", "", (number * 7 + index) % 20 / 20)
            for index in range(METRICS)
        ),
        datasets=(Dataset("holdout", digest=_digest(0, 0), role="holdout"),),
    )


def _digest(index: int, number: int) -> str:
    return "sha256:" + hashlib.sha256(f"{index} {number}".encode()).hexdigest()
