"""Streaming the bytes of a file or report: one chunk is read ahead in a thread while another is sent."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from steelyard.v1 import version_service_pb2 as pb
from steelyard_server.api import convert, convert_content
from steelyard_server.api.envelope import data_message
from steelyard_server.api.transact import observe
from steelyard_server.core import evaluations, files, names
from steelyard_server.errors import ResourceMismatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from concurrent.futures import Executor

    from steelyard_server.api.call import Call, Stream
    from steelyard_server.blobs.store import BlobReader, BlobStore
    from steelyard_server.core.content import File
    from steelyard_server.db.database import Database

# Just below 1 MiB: a larger message costs the receiver a hand-over of the interpreter lock.
CHUNK_BYTES = 1023 * 1024


async def stream_file(
    request: pb.ReadFileRequest,
    call: Call,
    stream: Stream,
    *,
    database: Database,
    blobs: BlobStore,
    threads: Executor,
) -> None:
    """Answer a header, then the bytes of the range in chunks.

    Raises:
        FileNotFound, EvaluationNotFound, FileIsExternal, OffsetOutOfRange: see the RPC.
        BlobCorrupt, BlobLost: the stored bytes are damaged or gone; bytes sent before were right.
    """
    names.number(request.length, field="length")
    (file, number, digest), sequence = await _find(request, call, database)
    end = file.size_bytes if request.length == 0 else min(file.size_bytes, request.offset + request.length)
    header = pb.ReadFileHeader(
        file=convert_content.file_message(file),
        number=number,
        digest=digest,
        offset=request.offset,
        length=end - request.offset,
        sequence=sequence,
    )
    async with _opened(file, blobs=blobs, threads=threads) as reader:
        await stream.write(pb.ReadFileResponse(header=header).SerializeToString())
        await _send(reader, stream, offset=request.offset, end=end, threads=threads)


@asynccontextmanager
async def _opened(file: File, *, blobs: BlobStore, threads: Executor) -> AsyncIterator[BlobReader]:
    """Open the blob of a file, and close it also when the call is cancelled while it is opened."""
    loop = asyncio.get_running_loop()
    opening = loop.run_in_executor(threads, partial(blobs.open, file.digest, size_bytes=file.size_bytes))
    try:
        yield await asyncio.shield(opening)
    finally:
        await asyncio.shield(_close(opening, threads=threads))


async def _close(opening: asyncio.Future[BlobReader], *, threads: Executor) -> None:
    await asyncio.wait([opening])
    if not opening.cancelled() and opening.exception() is None:
        await asyncio.get_running_loop().run_in_executor(threads, opening.result().close)


async def _find(
    request: pb.ReadFileRequest, call: Call, database: Database
) -> tuple[tuple[File, int, str], int]:
    """Find the file or report that is asked for, with number and digest of its version."""
    report = bool(request.evaluation)
    if report and request.path:
        message = "`path` and `evaluation` are both set; name one file, or one evaluation for its report."
        raise ResourceMismatch(message, field="path")
    named: dict[str, Any] = {"evaluation": request.evaluation} if report else {"path": request.path}
    return await observe(
        database,
        call,
        evaluations.find_report if report else files.find,
        minimum_sequence=request.minimum_sequence,
        hot=True,
        reference=convert.reference(request.version),
        offset=request.offset,
        **named,
    )


async def _send(reader: BlobReader, stream: Stream, *, offset: int, end: int, threads: Executor) -> None:
    loop = asyncio.get_running_loop()

    def read(position: int) -> asyncio.Future[bytes]:
        length = min(CHUNK_BYTES, end - position)
        return loop.run_in_executor(threads, reader.read, position, length)

    ahead = read(offset) if offset < end else None
    try:
        while ahead is not None:
            chunk = await asyncio.shield(ahead)
            offset += len(chunk)
            ahead = read(offset) if offset < end else None
            await stream.write(data_message(chunk))
    finally:
        # The reader must not be closed under a read that is still going on.
        if ahead is not None:
            await asyncio.wait([ahead])
