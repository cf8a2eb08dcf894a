"""The rules of an upload, the same for every store: who owns it, what it may take, how it ends.

A `Partial` is what is there of a blob; an `OpenUpload` is the right of one stream to change it. A
newer stream takes the right, not the work: hash and checks of an open partial go on as they are,
so being taken over costs nothing, however often a client comes back.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeVar

from steelyard_server.blobs.blocks import DIGEST_PREFIX, BlockSums, hexadecimal
from steelyard_server.blobs.disk import registry_error
from steelyard_server.errors import (
    DigestMismatch,
    RegistryError,
    SizeMismatch,
    StorageUnavailable,
    UploadIncomplete,
    UploadSuperseded,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
# A step holds a partial for one block, one sync or one publication; longer means a disk that hangs.
STEP_SECONDS: Final = 60.0

Result = TypeVar("Result")


class Partial(ABC):
    """What is there of a blob, durable or not. Its methods are called under its lock.

    Args:
        size_bytes: declared size of the whole blob, -1 until the first `open`.
        offset: bytes there; 0 while it is closed.
        durable_offset: bytes that survive a crash.
        is_open: whether `offset`, hash and checks stand for what is there.
    """

    def __init__(self, *, durable_offset: int = 0, touch_time: float = 0.0) -> None:
        self.lock = threading.Lock()
        self.owner: OpenUpload | None = None
        self.touch_time = touch_time
        self.durable_offset = durable_offset
        self.reset(size_bytes=-1)

    def reset(self, *, size_bytes: int) -> None:
        """Begin to count and to hash at the first byte."""
        self.size_bytes = size_bytes
        self.is_open = size_bytes >= 0
        self.offset = 0
        self.sums = BlockSums()
        self._hash = hashlib.sha256()

    def digest(self) -> str:
        """Return the digest of the bytes there."""
        return DIGEST_PREFIX + self._hash.hexdigest()

    def take(self, data: memoryview) -> None:
        """Count and hash bytes that follow."""
        self._hash.update(data)
        self.sums.update(data)
        self.offset += len(data)

    @abstractmethod
    def open(self, *, size_bytes: int) -> None:
        """Find what is durable of a blob of this size, for `recover_block`; drop what is of another."""

    @abstractmethod
    def recover_block(self) -> bool:
        """Take one block of what was found, and return whether there may be another."""

    @abstractmethod
    def require_room(self) -> None:
        """Raise StorageFull when the bytes that are missing clearly do not fit."""

    @abstractmethod
    def write(self, data: memoryview) -> None:
        """Append bytes and take them."""

    @abstractmethod
    def flush(self) -> None:
        """Make all bytes durable."""

    @abstractmethod
    def publish(self, digest: str) -> None:
        """Turn the bytes into a durable blob, and leave nothing here."""

    @abstractmethod
    def release(self) -> None:
        """Close it: keep what is durable, and hold nothing that is scarce."""

    @abstractmethod
    def remove(self) -> None:
        """Delete everything and close it."""


class Uploads:
    """All partials of a store, by key."""

    def __init__(self, make: Callable[[str], Partial]) -> None:
        self.partials: dict[str, Partial] = {}
        self._make = make
        # Guards the dictionary and who owns what; held for moments, never while reading or writing.
        self._lock = threading.Lock()

    def begin(self, key: str) -> OpenUpload:
        """Give the upload of a key to a new owner; see the store.

        Raises:
            ValueError: *key* is malformed.
        """
        if not KEY.fullmatch(key):
            raise ValueError("A key has 1 to 128 letters, digits, '_' and '-'.")
        with self._lock:
            if (partial := self.partials.get(key)) is None:
                partial = self.partials[key] = self._make(key)
            upload = partial.owner = OpenUpload(self, key, partial)
            return upload

    def held_bytes(self, key: str) -> int:
        """Return the durable bytes of a partial."""
        partial = self.partials.get(key)
        return partial.durable_offset if partial else 0

    def disown(self, upload: OpenUpload) -> None:
        """Take the right from *upload* if it has it; forget a partial that is empty then."""
        with self._lock:
            partial = upload.partial
            if partial.owner is upload:
                partial.owner = None
                partial.touch_time = time.time()
                if not partial.durable_offset:
                    del self.partials[upload.key]

    def expire(self, *, before_time: float) -> int:
        """Remove partials that have no owner and were not touched since."""
        expired = 0
        for key in list(self.partials):
            if upload := self._take_left(key, before_time=before_time):
                # Whoever begins it meanwhile takes it over, as from any owner.
                with suppress(UploadSuperseded):
                    upload.discard()
                    expired += 1
        return expired

    def close(self) -> None:
        """Close all uploads that are open."""
        for partial in list(self.partials.values()):
            if (owner := partial.owner) is not None:
                owner.close()

    def _take_left(self, key: str, *, before_time: float) -> OpenUpload | None:
        """Give a partial a new owner if it has none and was not touched since."""
        with self._lock:
            partial = self.partials.get(key)
            if partial is None or partial.owner is not None or partial.touch_time >= before_time:
                return None
            upload = partial.owner = OpenUpload(self, key, partial)
            return upload


class OpenUpload:
    """The right to change a partial, until it ends or a newer one begins; see `store.Upload`."""

    def __init__(self, uploads: Uploads, key: str, partial: Partial) -> None:
        self.key = key
        self.partial = partial
        self.offset = 0
        self.durable_offset = 0
        self._uploads = uploads
        self._abandoned = False

    def open(self, *, size_bytes: int, from_start: bool = False) -> int:
        """Open the partial, or go on with an open one, up to where its bytes are known to be right."""

        def start(partial: Partial) -> None:
            if from_start or (partial.is_open and partial.size_bytes != size_bytes):
                partial.remove()
            if not partial.is_open:
                partial.open(size_bytes=size_bytes)

        self._step(start)
        # One block at a time: a newer owner need not wait for a long recovery but goes on with it, and one
        # that is abandoned ends.
        while self._step(lambda partial: partial.recover_block()):
            pass
        self._step(lambda partial: partial.require_room())
        return self.offset

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*."""

        def write(partial: Partial) -> None:
            end = partial.offset + len(data)
            if end > partial.size_bytes:
                error = _wrong_size(expected_bytes=partial.size_bytes, actual_bytes=end)
                partial.remove()
                raise error
            partial.write(memoryview(data))

        self._step(write)

    def flush(self) -> int:
        """Make everything taken so far durable."""
        self._step(lambda partial: partial.flush())
        return self.durable_offset

    def finish(self, digest: str) -> None:
        """Verify and publish."""

        def finish(partial: Partial) -> None:
            hexadecimal(digest)
            if partial.offset != partial.size_bytes:
                raise _incomplete(expected_bytes=partial.size_bytes, actual_bytes=partial.offset)
            if (actual := partial.digest()) != digest:
                partial.remove()
                raise _wrong_digest(expected=digest, actual=actual)
            partial.publish(digest)

        self._step(finish)
        self._uploads.disown(self)

    def discard(self) -> None:
        """Delete the partial upload."""
        self._step(lambda partial: partial.remove())
        self._uploads.disown(self)

    def abandon(self) -> None:
        """Let no further step begin."""
        self._abandoned = True

    def close(self) -> None:
        """Leave the upload and keep what can be made durable."""
        with self._locked():
            if self.partial.owner is self:
                self._leave()

    def _step(self, action: Callable[[Partial], Result]) -> Result:
        """Act on the partial as its owner; any error ends the right to it."""
        partial = self.partial
        with self._locked():
            if partial.owner is not self or self._abandoned:
                raise UploadSuperseded("This upload is over, or a newer stream took it over.")
            try:
                result = action(partial)
            except OSError as error:
                self._leave()
                raise registry_error(error) from None
            except RegistryError:
                self._leave()
                raise
            self.offset, self.durable_offset = partial.offset, partial.durable_offset
            return result

    def _leave(self) -> None:
        # A failure to save more ends like a crash: what was durable before stays.
        with suppress(OSError):
            self.partial.flush()
        with suppress(OSError):
            self.partial.release()
        self._uploads.disown(self)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self.partial.lock.acquire(timeout=STEP_SECONDS):
            raise StorageUnavailable("The storage of blobs hangs; try again, and tell the operator.")
        try:
            yield
        finally:
            self.partial.lock.release()


def _wrong_size(*, expected_bytes: int, actual_bytes: int) -> SizeMismatch:
    message = f"The blob was declared with {expected_bytes} bytes; {actual_bytes} came. They were deleted."
    return SizeMismatch(message, expected_bytes=expected_bytes, actual_bytes=actual_bytes)


def _incomplete(*, expected_bytes: int, actual_bytes: int) -> UploadIncomplete:
    message = f"The blob has {expected_bytes} bytes; {actual_bytes} came. They are kept: resume the upload."
    return UploadIncomplete(message, expected_bytes=expected_bytes, actual_bytes=actual_bytes)


def _wrong_digest(*, expected: str, actual: str) -> DigestMismatch:
    message = f"The blob was declared as {expected}; the bytes that came are {actual}. They were deleted."
    return DigestMismatch(message, field="digest", expected=expected, actual=actual)
