"""Tending the storage of a server: back it up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from steelyard import types
from steelyard.errors import Unavailable
from steelyard.v1 import maintenance_service_pb2 as pb

if TYPE_CHECKING:
    from steelyard.connection import Connection

Answer = TypeVar("Answer", bound=pb.BackupResponse)

# As long as a stream may live at all.
STREAM_SECONDS = 86_400.0


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


class Maintenance:
    """Run what keeps the storage safe. A run belongs to the server.

    It goes on when the caller goes; the same call again joins it while it goes on.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def backup(self, name: str = "", *, progress: Callable[[Backup], None] | None = None) -> Backup:
        """Have the server copy the whole registry into a new directory, and return what is in it.

        A backup with problems is complete but for the bytes that are damaged or gone on the server.

        Args:
            name: of the directory; by default the server names it after the time.
            progress: called now and then; what it raises ends this call, not the run.

        Raises:
            BackupNotConfigured: the server was started without a directory for backups.
            BackupAlreadyExists: there is something of this name.
            MaintenanceRunning: a backup of another name goes on.
        """
        answer = pb.BackupResponse()
        for answer in self._answers("Backup", pb.BackupRequest(name=name), pb.BackupResponse):
            if progress is not None:
                progress(_backup(answer))
        return _backup(answer)

    def _answers(self, rpc: str, request: pb.BackupRequest, kind: type[Answer]) -> Iterator[Answer]:
        """Yield what the server tells of a run, to its end."""
        call = self._connection.receive(f"MaintenanceService/{rpc}", request, timeout_seconds=STREAM_SECONDS)
        done = False
        try:
            with self._connection.translated():
                for message in call:
                    answer = kind.FromString(message)
                    done = answer.done
                    yield answer
        finally:
            call.cancel()
        if not done:
            raise Unavailable("The server ended the stream before the end of the run; call again to join it.")


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
    kind = types.word(pb.StorageProblemKind.Name(message.kind), prefix="STORAGE_PROBLEM_KIND_")
    return StorageProblem(
        message.digest, message.size_bytes, kind, tuple(message.versions), message.versions_count
    )
