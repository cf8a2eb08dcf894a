"""Streaming several files of a version: as many as fit are read and sent in one message, one ahead."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from steelyard.v1 import version_service_pb2 as pb
from steelyard_server.api import convert, convert_content
from steelyard_server.api.read_file import CHUNK_BYTES
from steelyard_server.api.transact import observe
from steelyard_server.core import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

    from steelyard_server.api.call import Call, Stream
    from steelyard_server.blobs.store import BlobStore
    from steelyard_server.core.content import File
    from steelyard_server.db.database import Database

# A message stays below its limit whatever the paths are: each part may name one.
PARTS_MAXIMUM = 256


class Piece(NamedTuple):
    """Bytes of a file that go in one part."""

    file: File
    offset: int
    length: int


async def stream_files(
    request: pb.ReadFilesRequest,
    call: Call,
    stream: Stream,
    *,
    database: Database,
    blobs: BlobStore,
    threads: Executor,
) -> None:
    """Answer the bytes of all files in order.

    Raises:
        FileNotFound, FileIsExternal: see the RPC.
        BlobCorrupt, BlobLost: stored bytes are damaged or gone; bytes sent before were right.
    """
    (found, number, digest), sequence = await observe(
        database,
        call,
        files.find_all,
        minimum_sequence=request.minimum_sequence,
        reference=convert.reference(request.version),
        wanted=request.paths,
    )
    loop = asyncio.get_running_loop()
    common = pb.ReadFilesResponse(number=number, digest=digest, sequence=sequence)
    messages = _messages(found)
    ahead = loop.run_in_executor(threads, partial(_read, next(messages), blobs=blobs, common=common))
    try:
        for pieces in messages:
            message = await ahead
            ahead = loop.run_in_executor(threads, partial(_read, pieces, blobs=blobs, common=common))
            await stream.write(message)
        await stream.write(await ahead)
    finally:
        await asyncio.wait([ahead])


def _messages(found: list[File]) -> Iterator[list[Piece]]:
    """Yield what goes in each message."""
    pieces: list[Piece] = []
    size_bytes = 0
    for piece in _pieces(found):
        if pieces and (size_bytes + piece.length > CHUNK_BYTES or len(pieces) == PARTS_MAXIMUM):
            yield pieces
            pieces, size_bytes = [], 0
        pieces.append(piece)
        size_bytes += piece.length
    yield pieces


def _pieces(found: list[File]) -> Iterator[Piece]:
    for file in found:
        for offset in range(0, max(file.size_bytes, 1), CHUNK_BYTES):
            yield Piece(file, offset, min(CHUNK_BYTES, file.size_bytes - offset))


def _read(pieces: list[Piece], *, blobs: BlobStore, common: pb.ReadFilesResponse) -> bytes:
    """Read pieces and write them as one message."""
    answer = pb.ReadFilesResponse()
    answer.CopyFrom(common)
    for file, offset, length in pieces:
        with blobs.open(file.digest, size_bytes=file.size_bytes) as reader:
            part = answer.parts.add(data=reader.read(offset, length))
        if offset == 0:
            part.file.CopyFrom(convert_content.file_message(file))
    return answer.SerializeToString()
