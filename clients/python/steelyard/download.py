"""Receive one file of a version, verified, going on where a broken stream ended."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from google.protobuf.message import DecodeError

from steelyard.errors import DownloadCorrupt, Internal, SteelyardError, Unavailable
from steelyard.v1 import version_pb2
from steelyard.v1 import version_service_pb2 as pb
from steelyard.wire import data_of

if TYPE_CHECKING:
    from steelyard.progress import Meter
    from steelyard.transfer import Transfer
    from steelyard.types import File

CHUNK_BYTES = 1024 * 1024
# A stream that is slower than this is broken off and resumed.
SLOWEST_BYTES_PER_SECOND = 256 * 1024
SHORTEST_STREAM_SECONDS = 120.0


class Place(Protocol):
    """Says which version: a `Version`, an `Evaluation`, or a message of either."""

    @property
    def model(self) -> str:
        """Return `namespace/model`."""

    @property
    def number(self) -> int:
        """Return the number of the version."""


@dataclass(frozen=True, slots=True)
class Download:
    """What all files of one version have in common; with an `evaluation` its report is the only file."""

    version: Place
    meter: Meter
    transfer: Transfer
    evaluation: str = ""

    @property
    def reference(self) -> version_pb2.VersionRef:
        """Name the version, by what never changes."""
        return version_pb2.VersionRef(model=self.version.model, number=self.version.number)

    def fetch(self, file: File, target: Path) -> int:
        """Write *file* to *target* and return the bytes that came over the wire.

        What *target* has already is taken for the beginning of it; at the end the digest decides.

        Raises:
            DownloadCorrupt: the bytes are not those of the digest.
            SteelyardError: the server refused, or did not come back in time.
        """
        received_bytes = self._fill(file, target)
        if received_bytes is None:
            target.unlink(missing_ok=True)
            self.meter.add(-file.size_bytes, file=file.path)
            received_bytes = self._fill(file, target)
        if received_bytes is None:
            target.unlink(missing_ok=True)
            raise corrupt(file)
        return received_bytes

    def fetch_small(self, files: Iterable[File], *, keep: Callable[[File, bytes], None]) -> int:
        """Receive files that fit into a message each, all on one stream; return the bytes of all.

        Args:
            keep: called with each file and its verified bytes.

        Raises:
            DownloadCorrupt: the bytes of one are not those of its digest.
            SteelyardError: the server refused, or did not come back in time.
        """
        patience = self.transfer.patience()
        pending = {file.path: file for file in files}
        received_bytes = 0
        while pending:
            try:
                for file, data in self._small_files(pending):
                    keep(file, data)
                    del pending[file.path]
                    received_bytes += len(data)
                    self.meter.add(len(data), file=file.path)
                    patience.moved()
            except SteelyardError as error:
                patience.wait(error)
        return received_bytes

    def chunks(self, file: File, *, offset: int = 0) -> Iterator[memoryview]:
        """Yield the bytes of *file* from *offset* on, across broken streams.

        Raises:
            DownloadCorrupt: they are too many or too few.
        """
        patience = self.transfer.patience()
        while True:
            try:
                for chunk in self._stream(file, offset=offset):
                    offset += len(chunk)
                    yield chunk
                    patience.moved()
            except SteelyardError as error:
                patience.wait(error)
                continue
            if offset != file.size_bytes:
                raise corrupt(file)
            return

    def verified(self, file: File) -> Iterator[memoryview]:
        """Yield the bytes of *file*; the last step fails when all of them are not those of its digest.

        Raises:
            DownloadCorrupt: they are not.
        """
        hasher = hashlib.sha256()
        for chunk in self.chunks(file) if file.size_bytes else ():
            hasher.update(chunk)
            yield chunk
        if f"sha256:{hasher.hexdigest()}" != file.digest:
            raise corrupt(file)

    def _fill(self, file: File, target: Path) -> int | None:
        """Complete *target*; None when its bytes are not those of the digest."""
        hasher = hashlib.sha256()
        with target.open("r+b" if target.exists() else "x+b", buffering=0) as output:
            held_bytes = 0
            while chunk := output.read(CHUNK_BYTES):
                hasher.update(chunk)
                held_bytes += len(chunk)
                self.meter.add(len(chunk), file=file.path)
            for data in self.chunks(file, offset=held_bytes) if held_bytes < file.size_bytes else ():
                hasher.update(data)
                write_all(output.fileno(), data)
                self.meter.add(len(data), file=file.path)
        if f"sha256:{hasher.hexdigest()}" != file.digest:
            return None
        return file.size_bytes - held_bytes

    def _small_files(self, pending: Mapping[str, File]) -> Iterator[tuple[File, bytes]]:
        request = pb.ReadFilesRequest(version=self.reference, paths=pending)
        call = self.transfer.connection.receive(
            "VersionService/ReadFiles", request, timeout_seconds=SHORTEST_STREAM_SECONDS
        )
        watch = self.transfer.watch()
        with self.transfer.streaming(call, watch=watch):
            for message in watch.receiving(call):
                yield from _parts(message, pending)
        if pending:
            raise Unavailable("The server ended a stream before all files came; pull again.")

    def _stream(self, file: File, *, offset: int) -> Iterator[memoryview]:
        path = "" if self.evaluation else file.path
        request = pb.ReadFileRequest(
            version=self.reference, path=path, offset=offset, evaluation=self.evaluation
        )
        seconds = SHORTEST_STREAM_SECONDS + file.size_bytes / SLOWEST_BYTES_PER_SECOND
        call = self.transfer.connection.receive("VersionService/ReadFile", request, timeout_seconds=seconds)
        watch = self.transfer.watch()
        with self.transfer.streaming(call, watch=watch):
            for data in filter(None, map(data_of, watch.receiving(call))):
                offset += len(data)
                if offset > file.size_bytes:
                    raise corrupt(file)
                yield data


def _parts(message: bytes, pending: Mapping[str, File]) -> Iterator[tuple[File, bytes]]:
    """Yield the files in a message of ReadFiles, each verified."""
    try:
        parts = pb.ReadFilesResponse.FromString(message).parts
    except DecodeError:
        raise Internal("The server sent files in a message that cannot be read; pull again.") from None
    for part in parts:
        file = pending.get(part.file.path)
        if file is None:
            raise Internal("The server sent a file that was not asked for, or one twice; pull again.")
        if f"sha256:{hashlib.sha256(part.data).hexdigest()}" != file.digest:
            raise corrupt(file)
        yield file, part.data


def corrupt(file: File) -> DownloadCorrupt:
    """Return the error for bytes that are not those of the digest."""
    return DownloadCorrupt(
        f"The bytes of {file.path} that arrived do not have the digest {file.digest} that the version names; "
        "nothing was put in place. Ask who runs the server to verify its storage."
    )


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of *data*, which a file without a buffer does in parts where the disk fills up."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
