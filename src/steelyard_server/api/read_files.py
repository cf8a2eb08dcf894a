"""Streaming several files of a version: small ones are read many at a time, a batch ahead."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from steelyard.v1 import version_service_pb2 as pb
from steelyard_server.api import convert, convert_content
from steelyard_server.api.envelope import data_message
from steelyard_server.api.read_file import CHUNK_BYTES
from steelyard_server.api.transact import observe
from steelyard_server.core import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

    from steelyard_server.api.call import Stream
    from steelyard_server.blobs.store import BlobStore
    from steelyard_server.core.content import File
    from steelyard_server.db.database import Database

# What is read in one go, and held in memory twice: while one part is sent, the next is read.
BATCH_BYTES = 1024 * 1024
# What a file costs beside its bytes, in bytes that take as long.
FILE_COST_BYTES = 16 * 1024


async def stream_files(
    request: pb.ReadFilesRequest, stream: Stream, *, database: Database, blobs: BlobStore, threads: Executor
) -> None:
    """Answer a header with the first data, then more data, for each file.

    Raises:
        FileNotFound, FileIsExternal: see the RPC.
        BlobCorrupt, BlobLost: stored bytes are damaged or gone; bytes sent before were right.
    """
    (found, number, digest), sequence = await observe(
        database,
        files.find_all,
        minimum_sequence=request.minimum_sequence,
        reference=convert.reference(request.version),
        wanted=request.paths,
    )
    loop = asyncio.get_running_loop()
    common = pb.ReadFileHeader(number=number, digest=digest, sequence=sequence)

    def read(part: list[Piece]) -> asyncio.Future[list[bytes]]:
        return loop.run_in_executor(threads, _messages, part, blobs, common)

    parts = _parts(found)
    ahead = read(next(parts))
    try:
        for part in parts:
            messages = await ahead
            ahead = read(part)
            for message in messages:
                await stream.write(message)
        for message in await ahead:
            await stream.write(message)
    finally:
        await asyncio.wait([ahead])


Piece = tuple["File", int]
"""A file and the offset of one message of its bytes."""


def _parts(found: list[File]) -> Iterator[list[Piece]]:
    """Cut files into what is read in one go."""
    part: list[Piece] = []
    cost = 0
    for file in found:
        for offset in range(0, max(file.size_bytes, 1), CHUNK_BYTES):
            part.append((file, offset))
            cost += min(file.size_bytes - offset, CHUNK_BYTES) + FILE_COST_BYTES
            if cost >= BATCH_BYTES:
                yield part
                part, cost = [], 0
    if part:
        yield part


def _messages(part: list[Piece], blobs: BlobStore, common: pb.ReadFileHeader) -> list[bytes]:
    """Read pieces and write each as a message."""
    messages = []
    for file, offset in part:
        with blobs.open(file.digest, size_bytes=file.size_bytes) as reader:
            data = reader.read(offset, CHUNK_BYTES)
        if offset:
            messages.append(data_message(data))
            continue
        header = pb.ReadFileHeader(file=convert_content.file_message(file), length=file.size_bytes)
        header.MergeFrom(common)
        messages.append(pb.ReadFilesResponse(header=header, data=data).SerializeToString())
    return messages
