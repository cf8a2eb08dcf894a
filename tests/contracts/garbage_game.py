"""A registry whose users upload, make, copy, end and measure versions while garbage is collected."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from steelyard_server.blobs.local import LocalStore
from steelyard_server.core import (
    blobs,
    copies,
    deletions,
    evaluations,
    model_deletions,
    models,
    namespaces,
    versions,
)
from steelyard_server.core.content import File, Metric
from steelyard_server.core.references import Reference
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction
from steelyard_server.errors import BlobMissing, ModelDeleted, ModelNotFound
from steelyard_server.maintenance.collect import Collected, CollectOptions, collect
from steelyard_server.maintenance.storage import Storage
from steelyard_server.maintenance.verify import Verified, VerifyOptions, verify
from tests.api.uploads import digest_of
from tests.contracts.ends import versions_of
from tests.contracts.registry import FRAUD, act, build, end_leases, found
from tests.contracts.turns import Turns
from tests.faults.blob_files import open_upload

COPIES = "other/copies"
# One that is of a single block and one whose checks are a file of their own.
CONTENTS = (b"weights", b"large" * 300_000)
SCRIPTS = (
    *("upload", "push", "push and end", "delete", "undelete", "purge", "copy", "end all copies"),
    *("evaluate", "find", "expire", "leave a stray", "verify"),
)


@dataclass
class Game:
    """A registry, what its users were promised, and the steps that they may take."""

    database: Database
    store: LocalStore
    storage: Storage
    steps: Any
    turns: Turns
    seeds: int = 0
    promised: set[str] = field(default_factory=set)

    async def begin(self) -> None:
        """Make what there is before the first step: two models, and something to delete, copy and collect."""
        await found(self.database)
        await self.database.write(namespaces.create, act(), name="other")
        await self.database.write(models.create, act(), name=COPIES, draft=models.Draft())
        self.store.put({digest_of(CONTENTS[0]): CONTENTS[0]})
        await self.database.write(versions.create, act(), model=FRAUD, built=build(0), draft=versions.Draft())
        await self.database.write(end_leases)

    def script(self, name: str, data: bytes) -> Coroutine[Any, Any, Any]:
        """Begin what a user does, by its name in SCRIPTS."""
        steps: Any = getattr(self, name.replace(" ", "_"))(data)
        return steps  # type: ignore[no-any-return]

    async def upload(self, data: bytes) -> None:
        """Do what a stream of uploads does with a blob."""
        digest = digest_of(data)

        def record(tx: Transaction) -> None:
            blobs.record(tx, namespace="default", blobs=[(digest, len(data))])
            self.promised.add(digest)

        async def step() -> None:
            await self.turns.step(lambda: asyncio.to_thread(self.put, data))
            await self.steps.write(record)

        await self.turns.begin()
        await self.storage.claims.store([digest], step)

    def put(self, data: bytes) -> None:
        if len(data) < 1000:
            self.store.put({digest_of(data): data})
            return
        self.seeds += 1
        with closing(open_upload(self.store, f"key-{self.seeds}", size_bytes=len(data))) as upload:
            upload.write(data)
            upload.finish(digest_of(data))

    async def push(self, data: bytes) -> int:
        """Upload until a version could be made; somebody may end the lease in between."""
        self.seeds += 1
        built = build(self.seeds, blob=(digest_of(data), len(data)))
        while True:
            await self.upload(data)
            with suppress(BlobMissing):
                made = await self.steps.write(
                    versions.create, act(), model=FRAUD, built=built, draft=versions.Draft()
                )
                return int(made.version.number)

    async def push_and_end(self, data: bytes) -> None:
        await self.push(data)
        await self.delete(data)
        await self.purge(data)

    async def delete(self, _: bytes) -> None:
        await self._on_any(deletions.remove, deleted=False)

    async def undelete(self, _: bytes) -> None:
        await self._on_any(deletions.restore, deleted=True)

    async def purge(self, _: bytes) -> None:
        await self._on_any(deletions.purge, deleted=True)

    async def copy(self, _: bytes) -> None:
        """Copy a version into a namespace that may never have had the bytes."""

        def copy(tx: Transaction, why: Any, *, reference: Reference) -> None:
            copies.copy(tx, why, source=reference, model=COPIES)

        with suppress(ModelDeleted, ModelNotFound):
            await self._on_any(copy, deleted=False, model=FRAUD)

    async def end_all_copies(self, _: bytes) -> None:
        """Delete the model of the copies, and purge it with all that is in it."""
        with suppress(ModelDeleted, ModelNotFound):
            await self.steps.write(model_deletions.remove, act(), name=COPIES)
            await self.steps.write(model_deletions.purge, act(), name=COPIES)

    async def evaluate(self, data: bytes) -> None:
        """Upload a report, and record an evaluation that names it."""
        await self.upload(data)
        report = File("report.html", digest_of(data), size_bytes=len(data))
        draft = evaluations.Draft((Metric("precision", "new", "", 0.5),), report=report)

        def record(tx: Transaction, why: Any, *, reference: Reference) -> None:
            evaluations.record(tx, why, reference=reference, draft=draft)

        with suppress(BlobMissing):
            await self._on_any(record, deleted=False, model=FRAUD)

    async def find(self, data: bytes) -> None:
        """Ask what is missing; what is not must stay."""
        wanted = [(digest_of(data), len(data))]

        def find(tx: Transaction) -> None:
            missing = blobs.find_missing(tx, namespace="default", wanted=wanted, sizes_bytes=[]).digests
            if not missing:
                self.promised.add(digest_of(data))

        await self.steps.write(find)

    async def expire(self, _: bytes) -> None:
        """Let all leases come to their end."""

        def end(tx: Transaction) -> None:
            end_leases(tx)
            self.promised.clear()

        await self.steps.write(end)

    async def leave_a_stray(self, data: bytes) -> None:
        """Do what an upload does that is killed before it is recorded."""

        async def step() -> None:
            await self.turns.step(lambda: asyncio.to_thread(self.put, data))

        await self.turns.begin()
        await self.storage.claims.store([digest_of(data)], step)

    async def verify(self, _: bytes) -> None:
        progress = Verified()
        await verify(self.storage, VerifyOptions(0, 2**63 - 1), act(), progress)
        assert progress.problems_count == 0

    async def collect(self, *, trash_seconds: int, storage: Storage | None = None) -> Collected:
        progress = Collected()
        options = CollectOptions(dry_run=False, grace_seconds=0, trash_seconds=trash_seconds)
        await collect(storage or self.storage, options, act(), progress)
        return progress

    async def check(self) -> None:
        """Demand that what is recorded is in place, and what is named or promised is recorded and held."""
        live, named, held = await self.database.read(state)
        for digest, size_bytes in live.items():
            with self.store.open(digest, size_bytes=size_bytes) as reader:
                assert digest_of(reader.read(0, size_bytes)) == digest
        assert {digest for _, digest in held} <= live.keys()
        assert named <= held
        assert {("default", digest) for digest in self.promised} <= held

    async def _on_any(self, use_case: Any, *, deleted: bool, model: str = "") -> None:
        """Do something to the oldest version that is deleted, or is not, if there is one."""

        def do(tx: Transaction) -> None:
            for reference, is_deleted in versions_of(tx):
                if is_deleted is deleted and model in {"", reference.model}:
                    use_case(tx, act(), reference=reference)
                    return

        with suppress(ModelDeleted, ModelNotFound):
            await self.steps.write(do)


Pairs = set[tuple[str, str]]


def state(tx: Transaction) -> tuple[dict[str, int], Pairs, Pairs]:
    """Return the blobs that are not condemned, which of them each namespace names, and which it holds."""
    stored = tx.all(select(tables.blobs))
    live = {row.digest: row.size_bytes for row in stored if row.condemn_time is None}
    spaces = {row.id: row.name for row in tx.all(select(tables.namespaces))}
    of_model = {row.id: spaces[row.namespace_id] for row in tx.all(select(tables.models))}
    of_version = {row.id: of_model[row.model_id] for row in tx.all(select(tables.versions))}
    named = {(of_version[row.version_id], row.digest) for row in tx.all(select(tables.files))}
    reported = {(of_version[row.version_id], row.report_digest) for row in tx.all(select(tables.evaluations))}
    held = {(spaces[row.namespace_id], row.digest) for row in tx.all(select(tables.holdings))}
    return live, named | reported, held
