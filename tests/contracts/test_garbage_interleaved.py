"""Uploads, versions, deletions and collections at hostile times: nothing needed is lost, all garbage goes.

The steps are those of the server, on a store on disk and both databases; Hypothesis chooses their order.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from steelyard_server.blobs.claims import Claims
from steelyard_server.blobs.local import LocalStore
from steelyard_server.core import blobs, versions
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction, open_database
from steelyard_server.errors import BlobMissing
from steelyard_server.maintenance.collect import Collected, CollectOptions, collect
from steelyard_server.maintenance.runs import Stop
from steelyard_server.maintenance.storage import Storage
from steelyard_server.maintenance.verify import Verified, VerifyOptions, verify
from tests.api.uploads import digest_of
from tests.contracts.registry import FRAUD, act, build, delete_versions, end_leases, found
from tests.contracts.turns import StepDatabase, StepStorage, Turns
from tests.databases import empty

# One that is of a single block and one whose checks are a file of their own.
CONTENTS = (b"weights", b"large" * 300_000)
SCRIPTS = (
    "upload",
    "upload",
    "push",
    "push and delete",
    "find",
    "expire",
    "delete",
    "leave a stray",
    "verify",
)
FOREVER = 1_000_000
QUICK = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    # A game takes long, and to make one smaller takes hundreds; what was drawn is printed as it is.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)

callers = st.lists(st.tuples(st.sampled_from(SCRIPTS), st.sampled_from(CONTENTS)), min_size=1, max_size=4)
collections = st.lists(st.sampled_from([0, FOREVER]), min_size=1, max_size=2)


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

    def script(self, name: str, data: bytes) -> Coroutine[Any, Any, Any]:
        return {
            "upload": self.upload,
            "push": self.push,
            "push and delete": self.push_and_delete,
            "find": self.find,
            "expire": self.expire,
            "delete": self.delete,
            "leave a stray": self.leave_stray,
            "verify": self.verify,
        }[name](data)

    async def upload(self, data: bytes) -> None:
        """Do what a stream of uploads does with a blob."""
        digest = digest_of(data)

        async def step() -> None:
            await self.turns.step(lambda: asyncio.to_thread(self.put, data))
            await self.steps.write(blobs.record, namespace="default", blobs=[(digest, len(data))])
            self.promised.add(digest)

        await self.turns.begin()
        await self.storage.claims.store([digest], step)

    def put(self, data: bytes) -> None:
        if len(data) < 1000:
            self.store.put({digest_of(data): data})
            return
        self.seeds += 1
        with closing(self.store.begin_upload(f"key-{self.seeds}", size_bytes=len(data))) as upload:
            upload.write(data)
            upload.finish(digest_of(data))

    async def push(self, data: bytes) -> int:
        """Upload until a version could be made; somebody may end the lease in between."""
        self.seeds += 1
        built = build(self.seeds, blob=(digest_of(data), len(data)))
        while True:
            await self.upload(data)
            with suppress(BlobMissing):
                made, _, _ = await self.steps.write(
                    versions.create, act(), model=FRAUD, built=built, draft=versions.Draft()
                )
                return int(made.number)

    async def push_and_delete(self, data: bytes) -> None:
        number = await self.push(data)
        await self.steps.write(delete_versions, number=number)

    async def find(self, data: bytes) -> None:
        """Ask what is missing; what is not must stay."""
        wanted = [(digest_of(data), len(data))]
        missing, _ = await self.steps.write(
            blobs.find_missing, namespace="default", wanted=wanted, sizes_bytes=[]
        )
        if not missing:
            self.promised.add(digest_of(data))

    async def expire(self, _: bytes) -> None:
        """Let all leases come to their end."""

        def end(tx: Transaction) -> None:
            end_leases(tx)
            self.promised.clear()

        await self.steps.write(end)

    async def delete(self, _: bytes) -> None:
        await self.steps.write(delete_versions)

    async def leave_stray(self, data: bytes) -> None:
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
        """Demand that what is recorded is in place, and what is referred to or promised is recorded."""
        live, named, held = await self.database.read(state)
        for digest, size_bytes in live.items():
            with self.store.open(digest, size_bytes=size_bytes) as reader:
                assert digest_of(reader.read(0, size_bytes)) == digest
        assert named <= live.keys()
        assert self.promised <= held


def state(tx: Transaction) -> tuple[dict[str, int], set[str], set[str]]:
    stored = tx.all(select(tables.blobs))
    live = {row.digest: row.size_bytes for row in stored if row.condemn_time is None}
    named = {row.digest for row in tx.all(select(tables.files.c.digest))}
    held = {row.digest for row in tx.all(select(tables.holdings.c.digest))}
    assert held <= live.keys()
    return live, named, held


@contextmanager
def fresh(location: Any, migrated_file: Path) -> Iterator[tuple[Any, Path]]:
    """Make an empty database of this kind, and a directory for the store, for one game."""
    with tempfile.TemporaryDirectory() as name:
        if isinstance(location, Path):
            yield Path(shutil.copy(migrated_file, Path(name) / "registry.db")), Path(name)
        else:
            empty(location)
            yield location, Path(name)


async def play(
    location: Any, root: Path, *, scripts: list[tuple[str, bytes]], trashes: list[int], data: st.DataObject
) -> None:
    database = await open_database(location)
    turns = Turns()
    steps: Any = StepDatabase(database, turns)
    try:
        with closing(LocalStore(root / "blobs")) as store, ThreadPoolExecutor(2) as threads:
            claims = Claims()
            storage = StepStorage(steps, store, claims, threads, Stop())
            game = Game(database, store, storage, steps, turns)
            await found(database)
            store.put({digest_of(CONTENTS[0]): CONTENTS[0]})
            # There is something to collect from the first step on.
            await database.write(end_leases)

            async def collect_all() -> None:
                for trash_seconds in trashes:
                    await game.collect(trash_seconds=trash_seconds)

            actors = {
                f"{index} {name}": game.script(name, blob) for index, (name, blob) in enumerate(scripts)
            }
            await turns.play(
                {"collector": collect_all(), **actors},
                choose=lambda names: data.draw(st.sampled_from(names)),
                check=game.check,
            )
            await database.write(delete_versions)
            await database.write(end_leases)
            await game.collect(trash_seconds=0, storage=Storage(database, store, claims, threads, Stop()))
            assert await database.read(state) == ({}, set(), set())
            assert list_files(root / "blobs") == []
    finally:
        await database.close()


def list_files(root: Path) -> list[str]:
    """List bytes of blobs, wherever they are."""
    return [
        path.name for folder in ("sha256", "trash") for path in (root / folder).rglob("*") if path.is_file()
    ]


@pytest.mark.timeout(300)
@QUICK
@given(scripts=callers, trashes=collections, data=st.data())
def test_in_any_order_of_steps_nothing_needed_is_lost_and_all_garbage_goes(
    location: Any,
    migrated_file: Path,
    scripts: list[tuple[str, bytes]],
    trashes: list[int],
    data: st.DataObject,
) -> None:
    with fresh(location, migrated_file) as (database, root):
        asyncio.run(play(database, root, scripts=scripts, trashes=trashes, data=data))


@pytest.mark.parametrize("turn", range(26))
@pytest.mark.parametrize("whole", [True, False], ids=["in one go", "in turns"])
async def test_an_upload_at_any_moment_brings_a_condemned_blob_back(
    location: Any, tmp_path: Path, *, turn: int, whole: bool
) -> None:
    """The upload begins after so many steps of the collector, and goes on to its end, or step by step."""
    database = await open_database(location)
    turns = Turns()
    steps: Any = StepDatabase(database, turns)
    taken: list[str] = []

    def choose(names: Any) -> str:
        first = len(taken) < turn or (not whole and taken[-1:] == ["upload"])
        wanted = "collector" if first else "upload"
        taken.append(wanted if wanted in names else str(names[0]))
        return taken[-1]

    try:
        with closing(LocalStore(tmp_path / "blobs")) as store, ThreadPoolExecutor(2) as threads:
            storage = StepStorage(steps, store, Claims(), threads, Stop())
            game = Game(database, store, storage, steps, turns)
            await found(database)
            store.put({digest_of(CONTENTS[0]): CONTENTS[0]})
            await database.write(end_leases)
            await turns.play(
                {"collector": game.collect(trash_seconds=0), "upload": game.upload(CONTENTS[0])},
                choose=choose,
                check=game.check,
            )
            live, _, held = await database.read(state)
            assert digest_of(CONTENTS[0]) in live.keys() & held
    finally:
        await database.close()
