"""A registry with bytes, to back up and to restore, and what became of it."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard_server.backups import restore as restoring
from steelyard_server.backups import write
from steelyard_server.backups.restore import Options, Restored
from steelyard_server.backups.write import BackedUp, BackupOptions, Source
from steelyard_server.blobs.claims import Claims
from steelyard_server.blobs.local import LocalStore
from steelyard_server.core import (
    aliases,
    blobs,
    environments,
    evaluations,
    garbage,
    grants,
    groups,
    manifest,
    models,
    namespaces,
    policy_drafts,
    requests,
    reviews,
    tokens,
    versions,
)
from steelyard_server.core.content import (
    Content,
    Dataset,
    File,
    Framework,
    Metric,
    Parameter,
    Parent,
    Schema,
    SchemaField,
)
from steelyard_server.core.models import Draft
from steelyard_server.core.quotas import Quota
from steelyard_server.core.retention import Retention
from steelyard_server.core.targets import Target
from steelyard_server.db.database import Database, open_database
from steelyard_server.history.act import Act, RequestKey
from steelyard_server.history.caller import Caller
from steelyard_server.maintenance.collect import Collected, CollectOptions, collect
from steelyard_server.maintenance.runs import Stop
from steelyard_server.maintenance.storage import Storage
from tests.contracts.ends import delete, end, undelete
from tests.contracts.registry import act, end_leases, everything, number

# Empty, small, a block exactly, and several blocks.
BYTES = (b"", b"weights", bytes(1 << 20), bytes(range(256)) * 4096 * 3 + b"rest")
HARD_TEXTS = ("", 'quote " and \\ backslash', "two\nlines\tand \u2028 é e\u0301 🦉", "x" * 60_000)
HARD_DOUBLES = (
    0.0,
    -0.0,
    1.5,
    1e300,
    5e-324,
    0.1,
    float("inf"),
    float("-inf"),
    float("nan"),
    -1e21,
    123456.0,
)
# Recorded, stored and condemned: on its way out.
CONDEMNED = b"condemned"
RESTORE = Act(Caller("steelyard", kind="service", method="restore"), reason="drill")


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


DIGESTS = tuple(map(digest_of, BYTES))


def silent(_phase: str, _done: int, _total: int) -> None:
    """Report nothing."""


@dataclass
class Registry:
    """A registry at work: its database, its store, and where its backups go."""

    database: Database
    store: LocalStore
    storage: Storage
    backups: Path
    source: Source

    async def back_up(self, name: str = "") -> BackedUp:
        """Make a backup."""
        progress = BackedUp()
        await write.back_up(self.source, BackupOptions(name), act(), progress)
        return progress

    async def collect(self, progress: Collected | None = None, *, dry_run: bool = False) -> Collected:
        """Collect all garbage at once."""
        progress = progress or Collected()
        options = CollectOptions(dry_run=dry_run, grace_seconds=0, trash_seconds=0)
        await collect(self.storage, options, act(), progress)
        return progress

    async def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return the whole database."""
        return await self.database.read(everything)


@asynccontextmanager
async def running(location: str | Path, directory: Path, *, backups: Path) -> AsyncIterator[Registry]:
    """Open a registry whose bytes are below *directory*."""
    _make(backups)
    store = LocalStore(directory / "blobs")
    database = await open_database(location)
    with ThreadPoolExecutor(2) as threads:
        storage = Storage(database, store, Claims(), threads, Stop())
        try:
            yield Registry(database, store, storage, backups, Source(storage, backups, server_version="test"))
        finally:
            await database.close()
            store.close()


def _make(directory: Path) -> None:
    directory.mkdir(exist_ok=True, parents=True)


async def fill(registry: Registry) -> None:
    """Make something of everything in an empty registry."""
    write = registry.database.write
    store_bytes(registry.store)
    await write(namespaces.ensure_default, act("steelyard"))
    ruled = namespaces.Draft(
        HARD_TEXTS[2],
        labels={"é": "🦉"},
        quota=Quota(size_bytes=1 << 40, versions_count=100),
        retention=Retention(keep_versions_count=50, keep_seconds=60, purge_after_seconds=3600),
    )
    await write(namespaces.create, act(), name="risk", draft=ruled)
    for space in ("default", "risk"):
        held = [(digest_of(data), len(data)) for data in BYTES]
        await write(blobs.record, namespace=space, blobs=held)
    for index, text in enumerate(HARD_TEXTS):
        directions = {"m0": "higher-is-better"}
        draft = Draft(text, labels={"n": str(index)}, owners=("risk",), metric_directions=directions)
        await write(models.create, act(reason=text[:100]), name=f"risk/model {index}", draft=draft)
    renaming = act(request=RequestKey("RenameModel", str(uuid.UUID(int=1)), "digest"))
    names = {"name": "risk/model 1", "new_name": "risk/Straße"}
    await write(requests.once, renaming, models.rename, lambda _: b"answer", **names)
    for seed in range(5):
        drafted = versions.Draft(HARD_TEXTS[seed % 4], labels={"é": "🦉"}, semantic_version=f"1.0.{seed}")
        await write(versions.create, act(), model="risk/Straße", built=content(seed), draft=drafted)
    for value in (1, 3, 2):
        reference = number(value, model="risk/Straße")
        await write(aliases.put, act(), reference=reference, name="champion")
    await write(aliases.rollback, act(), model="risk/Straße", name="champion")
    await end(registry.database, 5, model="risk/Straße")
    await delete(registry.database, 4, model="risk/Straße")
    await undelete(registry.database, 4, model="risk/Straße")
    for value in (0.5, 0.25):
        report = File("report.html", DIGESTS[1], size_bytes=len(BYTES[1]))
        measured = evaluations.Draft((Metric("m0", "new", "", value),), report=report)
        await write(evaluations.record, act(), reference=number(1, model="risk/Straße"), draft=measured)
    await add_access(registry)
    await condemn(registry)


async def add_access(registry: Registry) -> None:
    """Let somebody log in who may do something."""
    write = registry.database.write
    draft = groups.Draft(HARD_TEXTS[1], members=["user:ada", "service:ci"])
    await write(groups.create, act(), name="team", draft=draft)
    await write(grants.grant, act(), subject="group:team", role="reader", scope="risk/Straße")
    place = environments.Draft(HARD_TEXTS[2], labels={"é": "🦉"}, accepts=("staging", "production"))
    await write(environments.create, act(), name="production-eu", draft=place)
    await write(grants.grant, act(), subject="user:ada", role="deployer", scope="environment:production-eu")
    checks = (policy_drafts.Check("true", "true"),)
    policy = policy_drafts.Draft(Target("alias", "guarded"), checks=checks, description="why 🦉")
    await write(reviews.propose_policy, act(), namespace="risk", name="careful", draft=policy)
    wanted = {"uid": "0" * 16, "digest": "0" * 64, "principal": "user:ada"}
    await write(tokens.create, act(), **wanted)
    await write(tokens.revoke, act(), uid="0" * 16)
    await write(tokens.note_uses, {"0" * 16: 5})


async def condemn(registry: Registry) -> None:
    """Leave a blob behind that a collection condemned and came no further."""
    digest = digest_of(CONDEMNED)
    registry.store.put({digest: CONDEMNED})
    write = registry.database.write
    await write(blobs.record, namespace="default", blobs=[(digest, len(CONDEMNED))])
    await write(end_leases)
    assert await write(garbage.condemn, digests=[digest], grace_seconds=0)


def content(seed: int) -> manifest.Manifest:
    """Make content that has every blob, and doubles that are hard to write."""
    files = tuple(
        File(f"dir/{index}.bin", digest, size_bytes=len(data))
        for index, (digest, data) in enumerate(zip(DIGESTS, BYTES, strict=True))
    )
    metrics = tuple(
        Metric(f"m{index}", dataset="d", slice="", value=value) for index, value in enumerate(HARD_DOUBLES)
    )
    return manifest.build(
        Content(
            files=files,
            metrics=metrics,
            parameters=(Parameter("seed", seed), Parameter("kernel", HARD_TEXTS[1])),
            datasets=(Dataset("d", digest=DIGESTS[0]),),
            parents=(Parent("fine-tuned", DIGESTS[1]),),
            framework=Framework("onnx", "1.17"),
            schema=Schema(inputs=(SchemaField("x", "float32", (-1, 30)),)),
        )
    )


def store_bytes(store: LocalStore) -> None:
    """Put all bytes into a store."""
    store.put({digest_of(data): data for data in BYTES if len(data) <= 1 << 20})
    for data in BYTES:
        if len(data) > 1 << 20:
            upload = store.begin_upload("large")
            upload.open(size_bytes=len(data))
            upload.write(data)
            upload.finish(digest_of(data))


async def restore(source: Path, data_dir: Path, **options: Any) -> Restored:
    """Restore as the command does, in a thread."""
    return await asyncio.to_thread(
        restoring.restore, source, Options(data_dir, **options), RESTORE, report=silent
    )


def names(directory: Path) -> set[str]:
    """Return what is in a directory, below a data directory without the lock."""
    if not directory.exists():
        return set()
    return {path.name for path in directory.iterdir()} - {"lock"}
