"""The kinds of blob stores, and what tests of all of them do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

from steelyard_server.blobs.local import LocalStore
from steelyard_server.blobs.memory import MemoryStore
from steelyard_server.blobs.store import BlobStore, Upload
from steelyard_server.errors import RegistryError
from tests.api.uploads import digest_of
from tests.faults.blob_files import open_upload

MIB = 1 << 20
# Around the border of a block, where offsets go wrong.
SIZES = [1, 4095, MIB - 1, MIB, MIB + 1, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 3 * MIB + 12345]
SECONDS = 30


class Kind(ABC):
    """One kind of store: how to open it, again and again on what the one before kept."""

    @abstractmethod
    def open(self) -> BlobStore:
        """Open the store on what is kept."""


class OnDisk(Kind):
    """A store in a directory."""

    def __init__(self, directory: Path) -> None:
        self._root = directory / "blobs"

    def open(self) -> BlobStore:
        return LocalStore(self._root)


class InMemory(Kind):
    """A store whose bytes live as long as the object."""

    def __init__(self, _: Path) -> None:
        self._store = MemoryStore()

    def open(self) -> BlobStore:
        return self._store


def some_bytes(size_bytes: int, *, seed: int = 7) -> bytes:
    """Make bytes in which no block repeats, the same in every run."""
    return Random(seed).randbytes(size_bytes)  # noqa: S311 - content, not a secret


def write(upload: Upload, data: bytes, *, chunk_bytes: int = MIB) -> None:
    """Send the rest of *data*, from where the upload is."""
    for begin in range(upload.offset, len(data), chunk_bytes):
        upload.write(data[begin : begin + chunk_bytes])


def store_blob(store: BlobStore, data: bytes, *, key: str = "key") -> str:
    """Upload *data* whole and return its digest."""
    with closing(open_upload(store, key, size_bytes=len(data))) as upload:
        write(upload, data)
        upload.finish(digest_of(data))
    return digest_of(data)


def is_stored(store: BlobStore, data: bytes) -> bool:
    """Read the blob that should have these bytes and compare; not in the tests, which would print them."""
    with store.open(digest_of(data), size_bytes=len(data)) as reader:
        return reader.read(0, len(data)) == data


def refusal(action: Callable[[], object]) -> str:
    """Return the reason that an action is refused with, empty when it is not."""
    try:
        action()
    except RegistryError as error:
        return error.reason
    return ""
