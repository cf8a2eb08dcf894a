"""Blobs of a local store and the files they are in, for tests that break them."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from steelyard_server.blobs.local import LocalStore
from steelyard_server.blobs.store import BlobStore, Upload
from tests.api.uploads import digest_of
from tests.faults.blob_writer import content

MIB = 1 << 20
PARTIAL_BYTES = 3 * MIB
# Where the flushes of `leave_partial` end, and with them its marks.
ENDS = [500_000, MIB, MIB + 7, 2 * MIB, 2 * MIB + 500_000]


def blob_path(root: Path, data: bytes) -> Path:
    """Return where the bytes of a published blob are."""
    digits = digest_of(data).removeprefix("sha256:")
    return root / "sha256" / digits[:2] / digits[2:4] / digits


def sums_path(root: Path, data: bytes) -> Path:
    """Return where the checks of a published blob are."""
    path = blob_path(root, data)
    return path.with_name(f"{path.name}.crc")


def open_upload(store: BlobStore, key: str, *, size_bytes: int, from_start: bool = False) -> Upload:
    """Begin an upload or take it over, and open it."""
    upload = store.begin_upload(key)
    upload.open(size_bytes=size_bytes, from_start=from_start)
    return upload


def store_blob(store: LocalStore, data: bytes, *, key: str = "key") -> int:
    """Upload what is missing of *data* and return where that began."""
    with closing(open_upload(store, key, size_bytes=len(data))) as upload:
        offset = upload.offset
        upload.write(data[offset:])
        upload.finish(digest_of(data))
    return offset


def is_stored(store: LocalStore, data: bytes) -> bool:
    """Read the blob that should have these bytes and compare; not in the tests, which would print them."""
    with store.open(digest_of(data), size_bytes=len(data)) as reader:
        return reader.read(0, len(data)) == data


def leave_partial(root: Path) -> tuple[Path, Path]:
    """Leave a partial upload, flushed again and again, and return its files of bytes and of marks."""
    data = content(PARTIAL_BYTES)
    with closing(LocalStore(root)) as store:
        upload = open_upload(store, "key", size_bytes=PARTIAL_BYTES)
        for end in ENDS:
            upload.write(data[upload.offset : end])
            upload.flush()
    return root / "uploads" / "key", root / "uploads" / "key.crc"


def finish_partial(root: Path) -> int:
    """Finish that upload after a restart and return where it went on."""
    data = content(PARTIAL_BYTES)
    with closing(LocalStore(root)) as store:
        held_bytes = store.held_bytes("key")
        offset = store_blob(store, data)
        assert offset <= held_bytes
        assert is_stored(store, data)
    assert list((root / "uploads").iterdir()) == []
    return offset


def flip(path: Path, offset: int) -> None:
    """Change one bit of a file."""
    with path.open("r+b") as file:
        byte = os.pread(file.fileno(), 1, offset)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 1]), offset)
