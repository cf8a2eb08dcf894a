"""Tending the storage of a server: collect garbage, verify every byte, back it up, say how much it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from steelyard import enums, transfer
from steelyard.errors import Unavailable
from steelyard.v1 import maintenance_service_pb2 as pb

if TYPE_CHECKING:
    from steelyard.connection import Connection
    from steelyard.workers import Stop

Answer = TypeVar("Answer", pb.CollectGarbageResponse, pb.VerifyStorageResponse, pb.BackupResponse)

# As long as a stream may live at all.
STREAM_SECONDS = 86_400.0
# The server says something of a run every 5 seconds; less patience would break sound ones off.
PATIENCE_SECONDS_MINIMUM = 20.0


@dataclass(frozen=True, slots=True)
class ExpiredVersions:
    """Versions of one model that the retention of its namespace let go.

    Args:
        deleted_numbers: of the first 100 that were deleted.
        purged_numbers: of the first 100 that were purged.
        deleted_versions_count: of all that were deleted.
        purged_versions_count: of all that were purged.
        model_purged: whether the model was purged with them.
    """

    model: str
    deleted_numbers: tuple[int, ...]
    purged_numbers: tuple[int, ...]
    deleted_versions_count: int
    purged_versions_count: int
    model_purged: bool


@dataclass(frozen=True, slots=True)
class GarbageCollection:
    """What a collection did, or has done so far.

    Args:
        condemned_blobs_count: blobs that nothing refers to, whose bytes are now in the trash.
        freed_blobs_count: blobs and stray files whose bytes are gone.
        stray_files_count: files that belonged to no blob, now in the trash.
        deleted_versions_count: versions that the retention of their namespaces deleted.
        purged_versions_count: versions that it purged, those of purged models included.
        expired: which ones these are, of the first 100 models.
        expired_models_count: models of which it let something go, also those that are not named.
        sequence: of the event; 0 when no bytes went.
        waits_for_backup: it goes on when a backup has the bytes that it needs.
    """

    deleted_versions_count: int
    purged_versions_count: int
    purged_models_count: int
    condemned_blobs_count: int
    condemned_bytes: int
    freed_blobs_count: int
    freed_bytes: int
    stray_files_count: int
    examined_blobs_count: int
    blobs_count: int
    sequence: int
    waits_for_backup: bool
    expired: tuple[ExpiredVersions, ...]
    expired_models_count: int
    message: pb.CollectGarbageResponse = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class StorageProblem:
    """Something wrong with a stored blob; `kind` is damaged or missing.

    Args:
        versions: some of those that need it, as `namespace/model:number`.
        versions_count: how many need it.
    """

    digest: str
    size_bytes: int
    kind: str
    versions: tuple[str, ...]
    versions_count: int


@dataclass(frozen=True, slots=True)
class StorageVerification:
    """What a verification found, or has found so far.

    Args:
        problems: the first 1,000 of them.
        stray_files_count: files that belong to no blob; a collection removes them.
    """

    blobs_count: int
    total_bytes: int
    verified_blobs_count: int
    verified_bytes: int
    problems: tuple[StorageProblem, ...]
    problems_count: int
    stray_files_count: int
    stray_bytes: int
    message: pb.VerifyStorageResponse = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup has, or has so far.

    Args:
        name: of its directory, on the server.
        sequence: of the newest event that it has.
        registry_digest: logical digest of the registry at that moment; empty until the end.
        problems: blobs that are not in the backup because their stored bytes are damaged or gone; the
            first 100 of them, known at the end.
        problems_count: how many such blobs there are.
    """

    name: str
    sequence: int
    registry_digest: str
    rows_count: int
    blobs_count: int
    total_blobs_count: int
    blob_bytes: int
    total_blob_bytes: int
    problems: tuple[StorageProblem, ...]
    problems_count: int
    message: pb.BackupResponse = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class OwnerUsage:
    """How much one namespace or model uses.

    Args:
        unique_bytes: those that nothing else uses, and that would be free without it.
    """

    name: str
    versions_count: int
    blobs_count: int
    size_bytes: int
    unique_bytes: int


@dataclass(frozen=True, slots=True)
class StorageUsage:
    """How much is stored.

    Args:
        usages: by namespace, or by model of one; the largest first, at most 1,000.
        usages_count: how many namespaces or models there are, also those that `usages` leaves out.
        stored_bytes: of all blobs, each counted once.
        trash_bytes: of condemned blobs.
    """

    usages: tuple[OwnerUsage, ...]
    usages_count: int
    stored_bytes: int
    stored_blobs_count: int
    trash_bytes: int
    free_bytes: int
    message: pb.GetStorageUsageResponse = field(repr=False, compare=False)


class Maintenance:
    """Run what keeps the storage small, sound and safe. A run belongs to the server.

    It goes on when the caller goes; the same call again joins it while it goes on.
    """

    def __init__(self, connection: Connection, *, patience_seconds: float) -> None:
        self._connection = connection
        self._patience_seconds = max(patience_seconds, PATIENCE_SECONDS_MINIMUM)

    def collect_garbage(
        self,
        *,
        dry_run: bool = False,
        grace_seconds: int | None = None,
        trash_seconds: int | None = None,
        end_leases: bool = False,
        reason: str = "",
        progress: Callable[[GarbageCollection], None] | None = None,
        stop: Stop | None = None,
    ) -> GarbageCollection:
        """Apply the retention of namespaces, free the bytes that nothing refers to, and return what was done.

        Args:
            dry_run: change nothing, only say what would go.
            grace_seconds: least age of what goes; by default what the server was started with.
            trash_seconds: how long it stays in the trash; by default what the server was started with.
            end_leases: let what was uploaded in the last day go too when nothing names it; a push that is
                under way may then have to be made again.
            progress: called now and then; what it raises ends this call, not the run.
            stop: ends this call when another thread sets it, not the run.

        Raises:
            Stopped: *stop* was set.
            MaintenanceRunning: a run with other options goes on.
        """
        request = pb.CollectGarbageRequest(
            dry_run=dry_run,
            grace_seconds=grace_seconds,
            trash_seconds=trash_seconds,
            end_leases=end_leases,
            reason=reason,
        )
        answer = pb.CollectGarbageResponse()
        for answer in self._answers("CollectGarbage", request, pb.CollectGarbageResponse, stop=stop):
            if progress is not None:
                progress(_collection(answer))
        return _collection(answer)

    def verify_storage(
        self,
        *,
        bytes_per_second: int = 0,
        verified_before: datetime | None = None,
        progress: Callable[[StorageVerification], None] | None = None,
        stop: Stop | None = None,
    ) -> StorageVerification:
        """Have the server read every stored byte, and return what is damaged or missing.

        Args:
            bytes_per_second: at most; 0 for no limit.
            verified_before: leave out what was verified since.
            progress: called now and then; what it raises ends this call, not the run.
            stop: ends this call when another thread sets it, not the run.

        Raises:
            Stopped: *stop* was set.
            MaintenanceRunning: a run with other options goes on.
        """
        request = pb.VerifyStorageRequest(bytes_per_second=bytes_per_second)
        if verified_before is not None:
            request.verified_before_time.FromDatetime(verified_before)
        whole = pb.VerifyStorageResponse()
        for answer in self._answers("VerifyStorage", request, pb.VerifyStorageResponse, stop=stop):
            # Each tells only of problems that are new.
            found = [*whole.problems, *answer.problems]
            del answer.problems[:]
            answer.problems.extend(found)
            whole = answer
            if progress is not None:
                progress(_verification(whole))
        return _verification(whole)

    def backup(
        self,
        name: str = "",
        *,
        progress: Callable[[Backup], None] | None = None,
        stop: Stop | None = None,
    ) -> Backup:
        """Have the server copy the whole registry into a new directory, and return what is in it.

        A backup with problems is complete but for the bytes that are damaged or gone on the server.

        Args:
            name: of the directory; by default the server names it after the time.
            progress: called now and then; what it raises ends this call, not the run.
            stop: ends this call when another thread sets it, not the run.

        Raises:
            Stopped: *stop* was set.
            BackupNotConfigured: the server was started without a directory for backups.
            BackupAlreadyExists: there is something of this name.
            MaintenanceRunning: a backup of another name goes on.
        """
        answer = pb.BackupResponse()
        for answer in self._answers("Backup", pb.BackupRequest(name=name), pb.BackupResponse, stop=stop):
            if progress is not None:
                progress(_backup(answer))
        return _backup(answer)

    def storage_usage(self, namespace: str = "") -> StorageUsage:
        """Return how much each namespace uses, or each model of one.

        Raises:
            NamespaceNotFound: there is none with this name.
        """
        request = pb.GetStorageUsageRequest(namespace=namespace)
        answer = self._connection.ask(
            "MaintenanceService/GetStorageUsage", request, pb.GetStorageUsageResponse
        )
        return StorageUsage(
            usages=tuple(map(_usage, answer.usages)),
            usages_count=answer.usages_count,
            stored_bytes=answer.stored_bytes,
            stored_blobs_count=answer.stored_blobs_count,
            trash_bytes=answer.trash_bytes,
            free_bytes=answer.free_bytes,
            message=answer,
        )

    def _answers(
        self,
        rpc: str,
        request: pb.CollectGarbageRequest | pb.VerifyStorageRequest | pb.BackupRequest,
        kind: type[Answer],
        *,
        stop: Stop | None,
    ) -> Iterator[Answer]:
        """Yield what the server tells of a run, to its end."""
        call = self._connection.receive(f"MaintenanceService/{rpc}", request, timeout_seconds=STREAM_SECONDS)
        done = False
        seconds = self._patience_seconds
        with transfer.begin(self._connection, report=None, stop=stop, patience_seconds=seconds) as following:
            watch = following.watch()
            with following.streaming(call, watch=watch):
                for message in watch.receiving(call):
                    answer = kind.FromString(message)
                    done = answer.done
                    yield answer
        if not done:
            raise Unavailable("The server ended the stream before the end of the run; call again to join it.")


def _collection(message: pb.CollectGarbageResponse) -> GarbageCollection:
    return GarbageCollection(
        deleted_versions_count=message.deleted_versions_count,
        purged_versions_count=message.purged_versions_count,
        purged_models_count=message.purged_models_count,
        condemned_blobs_count=message.condemned_blobs_count,
        condemned_bytes=message.condemned_bytes,
        freed_blobs_count=message.freed_blobs_count,
        freed_bytes=message.freed_bytes,
        stray_files_count=message.stray_files_count,
        examined_blobs_count=message.examined_blobs_count,
        blobs_count=message.blobs_count,
        sequence=message.sequence,
        waits_for_backup=message.waits_for_backup,
        expired=tuple(map(_expired, message.expired)),
        expired_models_count=message.expired_models_count,
        message=message,
    )


def _expired(message: pb.ExpiredVersions) -> ExpiredVersions:
    numbers = tuple(message.deleted_numbers), tuple(message.purged_numbers)
    counts = message.deleted_versions_count, message.purged_versions_count
    return ExpiredVersions(message.model, *numbers, *counts, model_purged=message.model_purged)


def _verification(message: pb.VerifyStorageResponse) -> StorageVerification:
    return StorageVerification(
        blobs_count=message.blobs_count,
        total_bytes=message.total_bytes,
        verified_blobs_count=message.verified_blobs_count,
        verified_bytes=message.verified_bytes,
        problems=tuple(map(_problem, message.problems)),
        problems_count=message.problems_count,
        stray_files_count=message.stray_files_count,
        stray_bytes=message.stray_bytes,
        message=message,
    )


def _backup(message: pb.BackupResponse) -> Backup:
    return Backup(
        name=message.name,
        sequence=message.sequence,
        registry_digest=message.registry_digest,
        rows_count=message.rows_count,
        blobs_count=message.blobs_count,
        total_blobs_count=message.total_blobs_count,
        blob_bytes=message.blob_bytes,
        total_blob_bytes=message.total_blob_bytes,
        problems=tuple(map(_problem, message.problems)),
        problems_count=message.problems_count,
        message=message,
    )


def _problem(message: pb.StorageProblem) -> StorageProblem:
    kind = enums.word(pb.StorageProblemKind, message.kind)
    return StorageProblem(
        message.digest, message.size_bytes, kind, tuple(message.versions), message.versions_count
    )


def _usage(message: pb.StorageUsage) -> OwnerUsage:
    return OwnerUsage(
        name=message.name,
        versions_count=message.versions_count,
        blobs_count=message.blobs_count,
        size_bytes=message.size_bytes,
        unique_bytes=message.unique_bytes,
    )
