"""MaintenanceService: translate, join a run, and tell how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from steelyard.v1 import maintenance_service_pb2 as pb
from steelyard_server.api.enums import PROBLEMS
from steelyard_server.backups.write import BackedUp, BackupOptions, Problem
from steelyard_server.core import names
from steelyard_server.history.act import Act

if TYPE_CHECKING:
    from steelyard_server.api.call import Call, Stream
    from steelyard_server.maintenance.runs import Run, Runs

# Least and longest time between two responses of a run.
PROGRESS_SECONDS, HEARTBEAT_SECONDS = 0.5, 5.0

Options = TypeVar("Options")
Progress = TypeVar("Progress")


class MaintenanceService:
    """Serve runs of maintenance."""

    def __init__(self, *, backups: Runs[BackupOptions, BackedUp]) -> None:
        self._backups = backups

    async def Backup(self, request: pb.BackupRequest, call: Call, stream: Stream) -> None:
        """Join the backup of this name, or begin it."""
        options = BackupOptions(names.backup(request.name) if request.name else "")
        await _follow(self._backups.join(options, Act(call.caller)), stream, _backed_up)


async def _follow(
    run: Run[Options, Progress],
    stream: Stream,
    answer: Callable[..., pb.BackupResponse],
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
