"""A collection that is killed at any step loses nothing that is needed, and the next one frees the rest."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from sqlalchemy import select, update

from steelyard_server.blobs.local import LocalStore
from steelyard_server.core import blobs
from steelyard_server.db import tables
from steelyard_server.db.database import Transaction, open_database
from tests.api.uploads import digest_of
from tests.contracts.registry import create, found
from tests.faults.blob_files import is_stored, open_upload
from tests.faults.blob_writer import content
from tests.faults.collector import run

SECONDS = 100
KEPT = [content(3_000_000), content(50)]
GARBAGE = [content(2_500_000), content(60)]
EARLIER = [content(1_500_000), content(70)]
STRAYS = [content(1_200_000), content(80)]
FORGOTTEN = content(90)


async def arrange(directory: Path) -> None:
    """Make two blobs that versions name, garbage, blobs that an earlier run condemned, strays, and rests."""
    database = await open_database(directory / "registry.db")
    with closing(LocalStore(directory / "blobs")) as store:
        await found(database)
        store.put({digest_of(b"weights"): b"weights"})
        for data in [*KEPT, *GARBAGE, *EARLIER, *STRAYS, FORGOTTEN]:
            key = str(len(data))
            with closing(open_upload(store, key, size_bytes=len(data))) as upload:
                upload.write(data)
                upload.finish(digest_of(data))
        store.put_in_trash([digest_of(EARLIER[0]), digest_of(FORGOTTEN)])
    recorded = [(digest_of(data), len(data)) for data in [*KEPT, *GARBAGE, *EARLIER]]
    await database.write(blobs.record, namespace="default", blobs=recorded)
    for seed, data in enumerate(KEPT):
        await create(database, seed, blob=(digest_of(data), len(data)))
    await database.write(end_leases)
    await database.close()


def end_leases(tx: Transaction) -> None:
    """Let all leases end, and some blobs be condemned whose bytes are where a crash left them."""
    tx.run(update(tables.holdings).values(lease_expire_time=0), {})
    for data in EARLIER:
        digest = digest_of(data)
        tx.run(tables.holdings.delete().where(tables.holdings.c.digest == digest), {})
        tx.run(update(tables.blobs).where(tables.blobs.c.digest == digest).values(condemn_time=1), {})


async def live_digests(directory: Path) -> set[str]:
    """Return the blobs that are recorded and not condemned."""
    database = await open_database(directory / "registry.db")
    condition = tables.blobs.c.condemn_time.is_(None)
    rows = await database.read(lambda tx: tx.all(select(tables.blobs.c.digest).where(condition)))
    await database.close()
    return {row.digest for row in rows}


def there(directory: Path) -> set[str]:
    """Return the names of all files with bytes of blobs."""
    root = directory / "blobs"
    return {
        path.name for folder in ("sha256", "trash") for path in (root / folder).rglob("*") if path.is_file()
    }


def expected() -> set[str]:
    digits = [digest_of(data).removeprefix("sha256:") for data in KEPT]
    return {*digits, f"{digits[0]}.crc"}


def test_a_collection_killed_at_any_step_leaves_waste_at_most(tmp_path: Path) -> None:
    (tmp_path / "arranged").mkdir()
    asyncio.run(arrange(tmp_path / "arranged"))
    subprocess.run([sys.executable, "-m", "tests.faults.collector", tmp_path], check=True, timeout=SECONDS)
    kept = {digest_of(data) for data in KEPT}
    rounds = sorted(
        (path for path in tmp_path.iterdir() if path.name.isdigit()), key=lambda path: int(path.name)
    )
    for directory in rounds:
        came = (directory / "steps").read_text().splitlines()
        assert len(came) == int(directory.name) - (directory == rounds[-1]), "It ended by another way."
        live = asyncio.run(live_digests(directory))
        assert live >= kept, came
        with closing(LocalStore(directory / "blobs")) as store:
            assert all(store.contains(digest) for digest in live), came
            assert all(is_stored(store, data) for data in KEPT), came
        asyncio.run(run(directory))
        assert there(directory) == expected(), came
        assert asyncio.run(live_digests(directory)) == kept
    assert {"commit", "committed", "rename", "unlink", "utime"} <= set(came)
