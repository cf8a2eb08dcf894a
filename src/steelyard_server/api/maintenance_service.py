"""MaintenanceService: translate, join a run, and tell how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeVar

from steelyard.v1 import maintenance_service_pb2 as pb
from steelyard_server.api import convert
from steelyard_server.api.enums import PROBLEMS
from steelyard_server.api.transact import observe
from steelyard_server.backups.write import BackedUp, BackupOptions
from steelyard_server.core import names, usage
from steelyard_server.history.act import Act
from steelyard_server.limits import LIMITS
from steelyard_server.maintenance.collect import Collected, CollectOptions
from steelyard_server.maintenance.verify import Problem, Verified, VerifyOptions

if TYPE_CHECKING:
    from steelyard_server.api.call import Call, Stream
    from steelyard_server.blobs.store import BlobStore
    from steelyard_server.db.database import Database
    from steelyard_server.maintenance.retain import Expired
    from steelyard_server.maintenance.runs import Run, Runs

# Least and longest time between two responses of a run.
PROGRESS_SECONDS, HEARTBEAT_SECONDS = 0.5, 5.0
# Problems in one response, which must fit into a message.
PROBLEMS_MAXIMUM = 100

Options = TypeVar("Options")
Progress = TypeVar("Progress")


class MaintenanceService:
    """Serve runs of maintenance, and usage from the database.

    Args:
        defaults: times of a collection that asks for none.
    """

    def __init__(
        self,
        database: Database,
        *,
        store: BlobStore,
        collections: Runs[CollectOptions, Collected],
        verifications: Runs[VerifyOptions, Verified],
        backups: Runs[BackupOptions, BackedUp],
        defaults: CollectOptions,
    ) -> None:
        self._database = database
        self._store = store
        self._collections = collections
        self._verifications = verifications
        self._backups = backups
        self._defaults = defaults

    async def CollectGarbage(self, request: pb.CollectGarbageRequest, call: Call, stream: Stream) -> None:
        """Join the collection with these options, or begin it."""
        options = CollectOptions(
            dry_run=request.dry_run,
            grace_seconds=_seconds(request, "grace_seconds", default=self._defaults.grace_seconds),
            trash_seconds=_seconds(request, "trash_seconds", default=self._defaults.trash_seconds),
            end_leases=request.end_leases,
        )
        run = self._collections.join(options, Act(call.caller, reason=names.reason(request.reason)))
        await _follow(run, stream, _collected)

    async def VerifyStorage(self, request: pb.VerifyStorageRequest, call: Call, stream: Stream) -> None:
        """Join the verification with these options, or begin it."""
        before_time = convert.read_time(request, field="verified_before_time")
        options = VerifyOptions(
            bytes_per_second=names.number(request.bytes_per_second, field="bytes_per_second"),
            before_time=names.INT64_MAXIMUM if before_time is None else before_time,
        )
        told = 0

        def answer(progress: Verified, *, done: bool) -> pb.VerifyStorageResponse:
            nonlocal told
            new = progress.problems[told : told + PROBLEMS_MAXIMUM]
            told += len(new)
            return _verified(progress, new=new, done=done and told == len(progress.problems))

        await _follow(self._verifications.join(options, Act(call.caller)), stream, answer)

    async def Backup(self, request: pb.BackupRequest, call: Call, stream: Stream) -> None:
        """Join the backup of this name, or begin it."""
        options = BackupOptions(names.backup(request.name) if request.name else "")
        await _follow(self._backups.join(options, Act(call.caller)), stream, _backed_up)

    async def GetStorageUsage(
        self, request: pb.GetStorageUsageRequest, call: Call
    ) -> pb.GetStorageUsageResponse:
        """Add up what is stored."""
        (usages, usages_count, stored), sequence = await observe(
            self._database, call, usage.find, minimum_sequence=0, namespace=request.namespace
        )
        return pb.GetStorageUsageResponse(
            usages=[_usage(each) for each in usages],
            usages_count=usages_count,
            stored_bytes=stored.size_bytes,
            stored_blobs_count=stored.blobs,
            trash_bytes=stored.trash_bytes,
            free_bytes=await asyncio.to_thread(self._store.free_bytes),
            sequence=sequence,
        )


async def _follow(
    run: Run[Options, Progress],
    stream: Stream,
    answer: Callable[..., pb.CollectGarbageResponse | pb.VerifyStorageResponse | pb.BackupResponse],
) -> None:
    """Send how far *run* is when that changes, and now and then when it does not, until it is over.

    Raises:
        Exception: what the run ended with.
    """
    clock = asyncio.get_running_loop().time
    sent, sent_time, done = b"", clock(), False
    while not done:
        over = run.over
        if over and run.error is not None:
            raise run.error
        message = answer(run.progress, done=over)
        encoded = message.SerializeToString()
        if encoded != sent or clock() - sent_time >= HEARTBEAT_SECONDS or over:
            await stream.write(encoded)
            sent, sent_time = encoded, clock()
        done = message.done
        if not over:
            await run.wait(PROGRESS_SECONDS)


def _seconds(
    request: pb.CollectGarbageRequest, field: Literal["grace_seconds", "trash_seconds"], *, default: int
) -> int:
    if not request.HasField(field):
        return default
    return names.number(getattr(request, field), field=field, maximum=LIMITS.garbage_seconds)


def _collected(progress: Collected, *, done: bool) -> pb.CollectGarbageResponse:
    return pb.CollectGarbageResponse(
        condemned_blobs_count=progress.condemned_blobs,
        condemned_bytes=progress.condemned_bytes,
        freed_blobs_count=progress.freed_blobs,
        freed_bytes=progress.freed_bytes,
        stray_files_count=progress.stray_files,
        done=done,
        sequence=progress.sequence,
        examined_blobs_count=progress.examined_blobs,
        blobs_count=progress.blobs,
        waits_for_backup=progress.waits_for_backup,
        deleted_versions_count=progress.deleted_versions,
        purged_versions_count=progress.purged_versions,
        purged_models_count=progress.purged_models,
        expired=map(_expired, progress.expired),
        expired_models_count=progress.expired_models,
    )


def _expired(value: Expired) -> pb.ExpiredVersions:
    return pb.ExpiredVersions(
        model=value.model,
        deleted_numbers=value.deleted,
        purged_numbers=value.purged,
        model_purged=value.is_purged,
        deleted_versions_count=value.deleted_versions,
        purged_versions_count=value.purged_versions,
    )


def _verified(progress: Verified, *, new: list[Problem], done: bool) -> pb.VerifyStorageResponse:
    return pb.VerifyStorageResponse(
        blobs_count=progress.blobs,
        total_bytes=progress.total_bytes,
        verified_blobs_count=progress.verified_blobs,
        verified_bytes=progress.verified_bytes,
        problems=[_problem(each) for each in new],
        problems_count=progress.problems_count,
        stray_files_count=progress.stray_files,
        stray_bytes=progress.stray_bytes,
        done=done,
    )


def _backed_up(progress: BackedUp, *, done: bool) -> pb.BackupResponse:
    return pb.BackupResponse(
        rows_count=progress.rows,
        blobs_count=progress.blobs,
        total_blobs_count=progress.total_blobs,
        blob_bytes=progress.blob_bytes,
        total_blob_bytes=progress.total_blob_bytes,
        name=progress.name,
        sequence=progress.sequence,
        registry_digest=progress.registry_digest,
        done=done,
        problems=[_problem(each) for each in progress.problems] if done else [],
        problems_count=progress.problems_count,
    )


def _problem(value: Problem) -> pb.StorageProblem:
    return pb.StorageProblem(
        digest=value.digest,
        size_bytes=value.size_bytes,
        kind=PROBLEMS.number(value.kind),
        versions=value.versions,
        versions_count=value.versions_count,
    )


def _usage(value: usage.Usage) -> pb.StorageUsage:
    return pb.StorageUsage(
        name=value.name,
        versions_count=value.versions,
        blobs_count=value.blobs,
        size_bytes=value.size_bytes,
        unique_bytes=value.unique_bytes,
    )
