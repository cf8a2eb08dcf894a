"""Versions to promote, with their bytes, and the policy on the way, made without calls."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path

import orjson

from benchmarks.sample import MODEL, PROTECTED, SMALL_VERSIONS
from steelyard_server.blobs.local import LocalStore
from steelyard_server.core import (
    aliases,
    blobs,
    evaluations,
    manifest,
    models,
    namespaces,
    references,
    reviews,
    versions,
)
from steelyard_server.core.content import Content, Dataset, File, Metric, Schema, SchemaField
from steelyard_server.core.drafts import Draft
from steelyard_server.core.policy_drafts import Check
from steelyard_server.core.policy_drafts import Draft as PolicyDraft
from steelyard_server.core.targets import ALIAS, Target
from steelyard_server.db.database import Transaction, open_database
from steelyard_server.history.act import Act
from steelyard_server.history.caller import Caller

CHECKS = {
    "no-worse": 'better("precision@holdout", 0.0)',
    "same-schema": "schema_compatible(candidate, incumbent)",
    "formats": 'file_formats().all(f, f in ["safetensors", "json"])',
}
WEIGHTS_BYTES = 64 * 1024
_CONFIG = b'{"depth": 6}'
_SCHEMA = Schema((SchemaField("amount", "float32", (-1, 30)),), (SchemaField("score", "float32", (-1,)),))
_HOLDOUT = Dataset("holdout", digest="sha256:" + hashlib.sha256(b"holdout").hexdigest())
_METRICS = (Metric("precision", "holdout", "", 0.94),)

_ACT = Act(Caller("benchmark"))


async def fill(location: str | Path, *, directory: Path) -> None:
    """Make a model of ten versions that are equally good, the last of which has the alias that is protected.

    Args:
        directory: of the server, which gets the bytes of all files.
    """
    database = await open_database(location)
    await database.write(namespaces.ensure_default, _ACT)
    directions = {"precision": "higher-is-better"}
    await database.write(models.create, _ACT, name=MODEL, draft=models.Draft(metric_directions=directions))
    for number in range(1, SMALL_VERSIONS + 1):
        found = {"model.safetensors": _weights(number), "config.json": _CONFIG}
        files = tuple(File(path, _digest(data), len(data)) for path, data in found.items())
        with closing(LocalStore(directory / "blobs")) as store:
            store.put({_digest(data): data for data in found.values()})
        held = [(file.digest, file.size_bytes) for file in files]
        await database.write(blobs.record, namespace="default", blobs=held)
        built = manifest.build(Content(files=files, schema=_SCHEMA))
        await database.write(versions.create, _ACT, model=MODEL, built=built, draft=Draft())
        reference = references.Reference(MODEL, "number", number)
        measured = evaluations.Draft(_METRICS, (_HOLDOUT,))
        await database.write(evaluations.record, _ACT, reference=reference, draft=measured)
    await database.write(aliases.put, _ACT, reference=reference, name=PROTECTED)
    view = await database.write(_protect)
    assert view.state == "applied"
    await database.close()


def _protect(tx: Transaction) -> reviews.View:
    checks = tuple(Check(name, expression) for name, expression in CHECKS.items())
    policy = PolicyDraft(Target(ALIAS, PROTECTED), checks=checks)
    return reviews.propose_policy(tx, _ACT, namespace="default", name="careful", draft=policy)


def _weights(number: int) -> bytes:
    """Make a safetensors file of one tensor, another for each version."""
    tensor = {"dtype": "U8", "shape": [WEIGHTS_BYTES], "data_offsets": [0, WEIGHTS_BYTES]}
    header = orjson.dumps({"weights": tensor})
    return len(header).to_bytes(8, "little") + header + bytes([number]) * WEIGHTS_BYTES


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
