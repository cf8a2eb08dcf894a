"""Send files over streams of WriteBlobs: several at once, going on where a broken one ended.

A stream has two sides. gRPC's thread takes messages from `_messages`; the thread that called `run`
reads the answers. Where a large file starts, the first side waits for what the second hears.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import chain
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from steelyard import reasons
from steelyard.errors import FileChanged, FileUnreadable, Internal, SteelyardError
from steelyard.v1 import blob_service_pb2 as pb
from steelyard.wire import data_message

if TYPE_CHECKING:
    from steelyard.progress import Meter
    from steelyard.scan import LocalFile
    from steelyard.transfer import Transfer
    from steelyard.watch import Watch

# Just below 1 MiB: a larger message costs the receiver a hand-over of the interpreter lock.
CHUNK_BYTES = 1023 * 1024
# A file that fits into one message goes in one, without waiting for an answer.
SMALL_BYTES = 256 * 1024
STREAMS = 4
# What a file costs beside its bytes, in bytes that take as long.
FILE_COST_BYTES = 64 * 1024
# A stream that is slower than this is broken off and resumed.
SLOWEST_BYTES_PER_SECOND = 256 * 1024
SHORTEST_STREAM_SECONDS = 120.0


@dataclass(slots=True)
class Upload:
    """A file to send.

    Args:
        digest: may become known only when the file was read.
        sent_bytes: what went to the server, again after a broken stream.
        shown_bytes: what was shown as progress.
    """

    file: LocalFile
    digest: str = ""
    done: bool = False
    sent_bytes: int = 0
    shown_bytes: int = 0

    @property
    def is_small(self) -> bool:
        """Whether it goes in one message."""
        return self.file.size_bytes <= SMALL_BYTES and self.digest != ""

    def header(self, namespace: str) -> pb.BlobHeader:
        """Return what begins the blob; a file without a digest is named after what identifies it."""
        header = pb.BlobHeader(namespace=namespace, size_bytes=self.file.size_bytes, from_start=self.is_small)
        if self.digest:
            header.digest = self.digest
        else:
            name = f"{self.file.source.resolve()}\0{self.file.identity}"
            header.upload_id = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
        return header


def send(uploads: list[Upload], *, namespace: str, transfer: Transfer) -> None:
    """Send all files; when it returns they are durable on the server.

    Raises:
        FileChanged, FileUnreadable: a file is not what was found.
        SteelyardError: the server refused one, or did not come back in time.
    """
    meter = transfer.meter("upload", total_bytes=sum(upload.file.size_bytes for upload in uploads))

    def task(group: list[Upload]) -> None:
        patience = transfer.patience()
        while pending := [upload for upload in group if not upload.done]:
            stream = UploadStream(pending, namespace, meter, transfer, transfer.watch())
            try:
                stream.run()
            except SteelyardError as error:
                if stream.has_moved:
                    patience.moved(stream.watch.moved_at)
                patience.wait(error)

    groups = _groups(uploads)
    transfer.run(task, groups, threads=max(1, len(groups)))


@dataclass
class UploadStream:
    """One stream that sends files one after the other.

    Args:
        has_moved: whether the server took anything that it had not.
        watch: knows when anything moved.
    """

    uploads: list[Upload]
    namespace: str
    meter: Meter
    transfer: Transfer
    watch: Watch
    has_moved: bool = False
    _is_stopped: bool = False
    _failure: BaseException | None = None
    _call: Any = None
    _offsets: SimpleQueue[int | None] = field(default_factory=SimpleQueue)

    def run(self) -> None:
        """Send and hear until all files are done.

        Raises:
            SteelyardError: the stream ended before.
        """
        size_bytes = sum(upload.file.size_bytes for upload in self.uploads)
        self._call = self.transfer.connection.exchange(
            "BlobService/WriteBlobs",
            self.watch.sending(self._messages()),
            parse=pb.WriteBlobsResponse.FromString,
            timeout_seconds=SHORTEST_STREAM_SECONDS + size_bytes / SLOWEST_BYTES_PER_SECOND,
        )
        self._break_off()
        try:
            with self.transfer.streaming(self._call, watch=self.watch):
                for answer in self.watch.receiving(self._call):
                    self._hear(answer)
        except (reasons.DigestMismatch, reasons.SizeMismatch) as error:
            for upload in self.uploads:
                if not upload.done:
                    upload.file.require_unchanged()
            raise _changed(self.uploads, error) from None
        except SteelyardError:
            if self._failure is None:
                raise
        finally:
            self._offsets.put(None)
        if self._failure is not None:
            raise self._failure
        if any(not upload.done for upload in self.uploads):
            raise Internal("The server ended an upload without an error; it may be a proxy. Try again.")

    def _hear(self, answer: pb.WriteBlobsResponse) -> None:
        if not 0 <= answer.index < len(self.uploads):
            raise Internal(
                f"The server answered about blob {answer.index} of {len(self.uploads)}; push again."
            )
        upload = self.uploads[answer.index]
        if not 0 <= answer.ready.offset <= upload.file.size_bytes:
            raise Internal(
                f"The server asked for byte {answer.ready.offset} of {upload.file.path}; push again."
            )
        match answer.WhichOneof("answer"):
            case "ready":
                self._offsets.put(answer.ready.offset)
            case "already_present":
                waits = not upload.is_small
                upload.digest, upload.done = answer.already_present.digest, True
                self._show(upload, upload.file.size_bytes)
                if waits:
                    self._offsets.put(None)
            case "progress":
                self.has_moved = True
            case "finished":
                upload.digest, upload.done = answer.finished.digest, True
                self.has_moved = True
            case "stop":
                self._is_stopped = True
                self._offsets.put(None)

    def _messages(self) -> Iterator[bytes]:
        """Yield messages until the server says to stop; a failure here ends the call, and `run` raises it."""
        try:
            for message in chain.from_iterable(map(self._messages_of, self.uploads)):
                if self._is_stopped:
                    return
                yield message
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001  raised again by the other side
            self._failure = error
            self._break_off()

    def _break_off(self) -> None:
        """End the call once there are both, it and a failure, whichever of them comes first."""
        if self._call is not None and self._failure is not None:
            self._call.cancel()

    def _messages_of(self, upload: Upload) -> Iterator[bytes]:
        return self._small(upload) if upload.is_small else self._large(upload)

    def _small(self, upload: Upload) -> Iterator[bytes]:
        with _opened(upload.file) as source:
            data = b"".join(_chunks(upload.file, source, start=0))
        message = pb.WriteBlobsRequest(header=upload.header(self.namespace), data=data)
        message.finish.SetInParent()
        # Before the answer can come that it is there already.
        self._count(upload, len(data), start=0)
        yield message.SerializeToString()

    def _large(self, upload: Upload) -> Iterator[bytes]:
        yield pb.WriteBlobsRequest(header=upload.header(self.namespace)).SerializeToString()
        offset = self._next_offset()
        if offset is None:
            return
        self._show(upload, offset)
        hasher = None if upload.digest else hashlib.sha256()
        with _opened(upload.file) as source:
            if hasher is not None:
                for chunk in _chunks(upload.file, source, start=0, end=offset):
                    hasher.update(chunk)
            for chunk in _chunks(upload.file, source, start=offset):
                if hasher is not None:
                    hasher.update(chunk)
                yield data_message(chunk)
                self._count(upload, len(chunk), start=upload.shown_bytes)
        digest = f"sha256:{hasher.hexdigest()}" if hasher is not None else upload.digest
        yield pb.WriteBlobsRequest(finish=pb.BlobFinish(digest=digest)).SerializeToString()

    def _next_offset(self) -> int | None:
        """Wait for where to go on; None when there is nothing to send, or no more."""
        with self.watch.waiting():
            return self._offsets.get()

    def _count(self, upload: Upload, size_bytes: int, *, start: int) -> None:
        upload.sent_bytes += size_bytes
        self._show(upload, start + size_bytes)

    def _show(self, upload: Upload, done_bytes: int) -> None:
        """Show how much of a file is done, be it more or less than before."""
        self.meter.add(done_bytes - upload.shown_bytes, file=upload.file.path)
        upload.shown_bytes = done_bytes


def _changed(uploads: Iterable[Upload], error: SteelyardError) -> FileChanged:
    expected = error.metadata.get("expected", "")
    names = [str(upload.file.source) for upload in uploads if not upload.done and upload.digest == expected]
    name = names[0] if names else "A file"
    return FileChanged(f"{name} is not what it was when its digest was taken; push again. ({error})")


def _groups(uploads: Iterable[Upload]) -> list[list[Upload]]:
    """Share the files out to streams of about the same size, small files first in each."""
    pending = sorted(uploads, key=lambda upload: upload.file.size_bytes, reverse=True)
    groups: list[list[Upload]] = [[] for _ in range(min(STREAMS, len(pending)))]
    loads = [(0, index) for index in range(len(groups))]
    for upload in pending:
        load, index = heappop(loads)
        groups[index].insert(0, upload)
        heappush(loads, (load + upload.file.size_bytes + FILE_COST_BYTES, index))
    return groups


@contextmanager
def _opened(file: LocalFile) -> Iterator[int]:
    """Open a file that must be the one that was found, and still be at the end."""
    try:
        source = os.open(file.source, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise FileUnreadable(f"{file.source} cannot be read: {error.strerror}.") from None
    try:
        file.require_unchanged(os.fstat(source))
        yield source
        file.require_unchanged(os.fstat(source))
    finally:
        os.close(source)


def _chunks(file: LocalFile, source: int, *, start: int, end: int | None = None) -> Iterator[bytes]:
    """Yield the bytes of an open file from *start* to *end*, by default its size."""
    end = file.size_bytes if end is None else end
    while start < end:
        try:
            chunk = os.pread(source, min(CHUNK_BYTES, end - start), file.offset_bytes + start)
        except OSError as error:
            raise FileUnreadable(f"{file.source} cannot be read: {error.strerror}.") from None
        if not chunk:
            raise FileChanged(f"{file.source} became shorter while it was pushed; push again.")
        yield chunk
        start += len(chunk)
