"""Maintenance from Python: results as values, progress, and a run that others joined."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import steelyard
from steelyard import reasons
from steelyard.maintenance import GarbageCollection, OwnerUsage, StorageVerification
from tests.client.trees import MODEL, write_tree
from tests.servers import ServerProcess

SIZE_BYTES = sum(map(len, MODEL.values()))


class Enough(Exception):
    """Ends a call from its callback."""


@pytest.fixture
def own(child: ServerProcess, tmp_path: Path) -> steelyard.Client:
    """Connect to a server whose storage no other test uses, with a model in it."""
    client = steelyard.Client(child.address)
    client.push("fraud", write_tree(tmp_path / "model", MODEL))
    return client


def blob_files(child: ServerProcess) -> list[Path]:
    return [path for path in (child.directory / "blobs" / "sha256").rglob("*") if path.is_file()]


def test_a_collection_of_what_is_all_needed_changes_nothing(own: steelyard.Client) -> None:
    seen: list[GarbageCollection] = []
    done = own.maintenance.collect_garbage(
        grace_seconds=0, trash_seconds=0, reason="room", progress=seen.append
    )
    assert seen[-1] == done
    assert (done.condemned_blobs_count, done.freed_bytes, done.sequence) == (0, 0, 0)
    assert done.examined_blobs_count == done.blobs_count == len(MODEL)
    assert own.verify("fraud").version.number == 1


def test_strays_are_rehearsed_and_freed(own: steelyard.Client, child: ServerProcess) -> None:
    stray = blob_files(child)[0].parent / f"{blob_files(child)[0].name[:4]}{'0' * 60}"
    stray.write_bytes(b"stray")
    at_once = {"grace_seconds": 0, "trash_seconds": 0}
    rehearsed = own.maintenance.collect_garbage(dry_run=True, **at_once)
    assert (rehearsed.stray_files_count, rehearsed.freed_bytes, stray.exists()) == (1, 5, True)
    done = own.maintenance.collect_garbage(**at_once)
    assert (done.stray_files_count, done.freed_bytes, stray.exists()) == (1, 5, False)
    assert done.sequence > 0


def test_bytes_of_today_go_when_their_version_is_purged_and_leases_end(
    own: steelyard.Client, child: ServerProcess
) -> None:
    own.versions.delete("fraud:1")
    own.versions.purge("fraud:1")
    at_once = {"grace_seconds": 0, "trash_seconds": 0}
    assert own.maintenance.collect_garbage(**at_once).freed_bytes == 0
    rehearsed = own.maintenance.collect_garbage(dry_run=True, end_leases=True, **at_once)
    assert rehearsed.freed_bytes == sum(path.stat().st_size for path in blob_files(child)) > 0
    done = own.maintenance.collect_garbage(end_leases=True, **at_once)
    assert (done.freed_bytes, blob_files(child)) == (rehearsed.freed_bytes, [])


def test_a_verification_names_what_is_damaged_and_who_needs_it(
    own: steelyard.Client, child: ServerProcess
) -> None:
    sound = own.maintenance.verify_storage()
    assert (sound.verified_blobs_count, sound.verified_bytes) == (len(MODEL), SIZE_BYTES)
    assert sound.problems == ()

    path = max(blob_files(child), key=lambda each: each.stat().st_size)
    path.write_bytes(bytes(path.stat().st_size))
    seen: list[StorageVerification] = []
    found = own.maintenance.verify_storage(progress=seen.append)
    (problem,) = found.problems
    assert (problem.digest, problem.kind) == (f"sha256:{path.name}", "damaged")
    assert (problem.versions, problem.versions_count) == (("default/fraud:1",), 1)
    assert seen[-1] == found
    with pytest.raises(reasons.BlobCorrupt):
        own.read("fraud", "weights.onnx")


def test_what_was_verified_lately_is_left_out(own: steelyard.Client) -> None:
    now = datetime.now(UTC)
    assert own.maintenance.verify_storage(verified_before=now - timedelta(days=1)).blobs_count == 0
    assert own.maintenance.verify_storage(verified_before=now + timedelta(days=1)).blobs_count == len(MODEL)


def test_usage_is_told_by_namespace_and_by_model(own: steelyard.Client) -> None:
    found = own.maintenance.storage_usage()
    assert found.usages == (OwnerUsage("default", 1, len(MODEL), SIZE_BYTES, SIZE_BYTES),)
    assert (found.stored_bytes, found.stored_blobs_count, found.trash_bytes) == (SIZE_BYTES, len(MODEL), 0)
    assert found.free_bytes > 0
    assert found.usages_count == 1
    (only,) = own.maintenance.storage_usage("default").usages
    assert (only.name, only.size_bytes) == ("default/fraud", SIZE_BYTES)
    with pytest.raises(reasons.NamespaceNotFound):
        own.maintenance.storage_usage("none-such")


def test_what_a_callback_raises_ends_the_call_and_not_the_run(own: steelyard.Client) -> None:
    def stop(_: StorageVerification) -> None:
        raise Enough

    with pytest.raises(Enough):
        own.maintenance.verify_storage(bytes_per_second=1, progress=stop)
    with pytest.raises(reasons.MaintenanceRunning) as refused:
        own.maintenance.verify_storage(bytes_per_second=2)
    assert refused.value.metadata == {"kind": "verification"}


def test_bad_input_is_refused_with_its_field(own: steelyard.Client) -> None:
    with pytest.raises(reasons.OutOfBounds) as refused:
        own.maintenance.collect_garbage(grace_seconds=-1)
    assert refused.value.field == "grace_seconds"


async def test_the_same_calls_can_be_awaited(child: ServerProcess, tmp_path: Path) -> None:
    async with steelyard.AsyncClient(child.address) as client:
        await client.push("fraud", write_tree(tmp_path / "model", MODEL))
        seen: list[object] = []
        found = await client.maintenance.verify_storage(progress=seen.append)
        assert found.verified_bytes == SIZE_BYTES
        assert seen
        assert (await client.maintenance.collect_garbage()).blobs_count == len(MODEL)
        assert (await client.maintenance.storage_usage()).stored_bytes == SIZE_BYTES
