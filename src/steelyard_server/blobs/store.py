"""What a blob store promises. All methods block; call them from a worker thread.

A blob is named by its digest, `sha256:` and 64 hexadecimal digits, and is there whole or not at
all. Bytes that are still arriving are a partial upload, named by a key that the caller chooses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType


class StoredFile(NamedTuple):
    """Bytes of a blob that are there, whatever they are; `modify_time` is in seconds since the epoch, UTC."""

    digest: str
    size_bytes: int
    modify_time: float


class BlobStore(Protocol):
    """Keep blobs. Any number of threads may call it; one process at a time owns what it keeps."""

    def begin_upload(self, key: str) -> Upload:
        """Take the upload of a key, to be opened next.

        Whoever holds it gets UploadSuperseded at the next call. Takes a lock for a moment only and does
        no input or output, so it may be called from an event loop.

        Args:
            key: 1 to 128 letters, digits, `_` and `-`.

        Raises:
            ValueError: *key* is malformed.
        """

    def put(self, blobs: Mapping[str, bytes]) -> None:
        """Store blobs of at most one block of 1 MiB whole, by digest; when this returns, all are durable.

        Many at once cost little more than one. Nothing is left of them after an error, or some are there.

        Raises:
            DigestMismatch: bytes of one are others than its digest names; none is stored.
            DigestInvalid: a digest is malformed.
            StorageFull, StorageUnavailable: they cannot be stored.
        """

    def held_bytes(self, key: str) -> int:
        """Return how many bytes of a partial upload are durable, 0 if there is none.

        Takes no lock and does no input or output, so it may be called from an event loop.
        """

    def open(self, digest: str, *, size_bytes: int) -> BlobReader:
        """Open a blob for reading.

        A blob that is found lost or damaged, now or when it is read, counts as missing until it is
        uploaded again, also after a restart.

        Raises:
            BlobLost: there is no such blob, or it has another size.
            BlobCorrupt: the block checks are damaged or gone, or the blob is quarantined.
            DigestInvalid: *digest* is malformed.
            StorageUnavailable: the storage does not work.
        """

    def contains(self, digest: str) -> bool:
        """Return whether a blob is there; its bytes are not looked at.

        Raises:
            DigestInvalid: *digest* is malformed.
        """

    def verify(self, digest: str, *, size_bytes: int, pace: Callable[[int], None]) -> None:
        """Read a blob whole, also one that was noted as damaged, and compare it with its digest.

        What the system holds of it in memory is not trusted, and not more is held afterwards.

        Args:
            pace: called with the number of bytes before each block; what it raises ends this.

        Raises:
            BlobLost, BlobCorrupt, DigestInvalid, StorageUnavailable: as `open` and `BlobReader.read`.
        """

    def note_damage(self, digest: str, *, quarantine: bool = False) -> None:
        """Count a blob as missing until it is uploaded again, also after a restart.

        Args:
            quarantine: serve nothing of it either, also not the blocks whose checks are right.
        """

    def note_sound(self, digest: str) -> None:
        """Take back `note_damage`, for bytes that were verified."""

    def is_damaged(self, digest: str) -> bool:
        """Return whether a blob counts as missing since it was found lost or damaged.

        Takes no lock and does no input or output, so it may be called from an event loop.
        """

    def listing(self) -> Iterator[list[StoredFile]]:
        """List what is there of all blobs, some at a time; what comes or goes meanwhile may be missed."""

    def trash_listing(self) -> Iterator[list[StoredFile]]:
        """List what is in the trash, some at a time; `modify_time` is when it came there."""

    def put_in_trash(self, digests: Iterable[str]) -> None:
        """Take bytes out of place and keep them in the trash; what is not there is skipped.

        Raises:
            DigestInvalid, StorageUnavailable: some may be moved.
        """

    def take_from_trash(self, digests: Iterable[str]) -> None:
        """Put bytes from the trash in place again, durably, where there are none.

        Raises:
            DigestInvalid, StorageUnavailable: some may be moved.
        """

    def empty_trash(self, digests: Iterable[str]) -> int:
        """Remove bytes from the trash for good and return how many; those in place stay.

        Raises:
            DigestInvalid, StorageUnavailable: some may be removed.
        """

    def free_bytes(self) -> int:
        """Return how many bytes can still be stored.

        Raises:
            StorageUnavailable: the storage does not work.
        """

    def expire_uploads(self, *, before_time: float) -> int:
        """Remove partial uploads that nobody has open and nobody touched since; return their number.

        Args:
            before_time: seconds since the epoch, UTC.
        """

    def close(self) -> None:
        """Make the bytes of open uploads durable, and close everything. Idempotent."""


class Upload(Protocol):
    """The right to an upload. One thread at a time calls it, but for `abandon`.

    Once it is finished, closed, discarded, abandoned or taken over, and after any error, every method
    but `abandon` and `close` raises UploadSuperseded.

    Args:
        offset: bytes taken so far, where the next write lands.
        durable_offset: bytes that survive a crash, at most `offset`.
    """

    offset: int
    durable_offset: int

    def open(self, *, size_bytes: int, from_start: bool = False) -> int:
        """Start the upload, or go on where its durable bytes end, and return where that is.

        Going on means reading what is there again, to hash it; what is damaged is cut off. A partial
        upload of another declared size is dropped.

        Args:
            size_bytes: size of the whole blob.
            from_start: drop what is there.

        Raises:
            StorageFull: the bytes that are missing clearly do not fit.
            UploadSuperseded: see the class.
            StorageUnavailable: the storage does not work.
        """

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*; does not wait for the disk.

        Raises:
            SizeMismatch: more bytes than declared; the partial upload is deleted.
            StorageFull: there is no room; what came before stays, as far as it can be made durable.
            UploadSuperseded: see the class.
            StorageUnavailable: the storage does not work; the durable bytes stay.
        """

    def flush(self) -> int:
        """Make everything taken so far durable and return `durable_offset`.

        Raises:
            StorageFull, StorageUnavailable: that failed; what was durable before stays.
            UploadSuperseded: see the class.
        """

    def finish(self, digest: str) -> None:
        """Verify size and digest and publish the blob; when this returns, the blob is durable.

        One that is there already is replaced by the same bytes, for those may be damaged by now.

        Raises:
            UploadIncomplete: fewer bytes than declared; they stay, as far as they can be made durable.
            DigestMismatch: other bytes than *digest* names; the partial upload is deleted.
            DigestInvalid: *digest* is malformed.
            StorageFull, StorageUnavailable: it cannot be published; the durable bytes stay.
            UploadSuperseded: see the class.
        """

    def abandon(self) -> None:
        """End what another thread does here as soon as that is possible; `close` must follow.

        Takes no lock and does no input or output, so it may be called from an event loop.
        """

    def close(self) -> None:
        """Leave the upload for now and keep what can be made durable, to go on later. Idempotent."""

    def discard(self) -> None:
        """Delete the partial upload.

        Raises:
            UploadSuperseded: see the class.
            StorageUnavailable: the storage does not work.
        """


class BlobReader(Protocol):
    """A blob that is open for reading; a context manager. One thread at a time calls it."""

    size_bytes: int

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes of a range; fewer where the blob ends.

        Every block of 1 MiB that the range touches is checked before its bytes are returned. The
        last block stays at hand, so small reads in a row check it once.

        Raises:
            BlobCorrupt: a block is damaged; others can still be read.
            StorageUnavailable: the storage does not work.
        """

    def close(self) -> None:
        """Close the blob. Idempotent."""

    def __enter__(self) -> Self:
        """Return the reader itself."""

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the blob."""
