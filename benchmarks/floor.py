"""The least code that does the same: ``python -m benchmarks.floor DIRECTORY`` serves until SIGTERM.

Every unary method answers nothing. WriteBlobs hashes, writes, syncs and renames; ReadFile sends the
file that was written last. The wire is Steelyard's, so the same clients drive both.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop

from benchmarks.measure import CHUNK_BYTES
from steelyard import tune_allocator
from steelyard.v1 import blob_service_pb2 as pb
from steelyard.v1.version_service_pb2 import ReadFileRequest
from steelyard_server.api.envelope import data_message, data_of

OPTIONS = [("grpc.max_receive_message_length", 8 << 20), ("grpc.max_concurrent_streams", 1024)]


class Floor(grpc.GenericRpcHandler):
    """Answer any method."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Choose the handler by the name of the method."""
        method = str(handler_call_details.method)
        if method.endswith("/WriteBlobs"):
            return grpc.stream_stream_rpc_method_handler(self._write_blobs)
        if method.endswith("/ReadFile"):
            return grpc.unary_stream_rpc_method_handler(self._read_file)
        return grpc.unary_unary_rpc_method_handler(_nothing)

    async def _write_blobs(self, _: object, context: Any) -> None:
        temporary = self._directory / f"upload-{id(context)}"
        hashed = hashlib.sha256()
        size_bytes = 0
        file = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        while (message := await context.read()) is not grpc.aio.EOF:
            if data := data_of(message):
                hashed.update(data)
                size_bytes += os.write(file, data)
        os.fsync(file)
        os.close(file)
        temporary.rename(self._directory / "blob")
        finished = pb.BlobFinished(digest=f"sha256:{hashed.hexdigest()}", size_bytes=size_bytes)
        await context.write(pb.WriteBlobsResponse(finished=finished).SerializeToString())

    async def _read_file(self, raw: bytes, context: Any) -> None:
        length = ReadFileRequest.FromString(raw).length or sys.maxsize
        with (self._directory / "blob").open("rb", buffering=0) as file:
            while file.tell() < length and (chunk := file.read(CHUNK_BYTES)):
                await context.write(data_message(chunk))


async def _nothing(_request: bytes, _context: object) -> bytes:
    return b""


async def serve(directory: Path) -> None:
    """Serve on a free port until SIGTERM."""
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((Floor(directory),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await server.stop(0)


if __name__ == "__main__":
    tune_allocator()
    uvloop.run(serve(Path(sys.argv[1])))
