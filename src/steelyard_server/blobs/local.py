"""A blob store on a local disk.

Layout below its root: `uploads/<key>` and `uploads/<key>.crc` for a partial upload, and
`sha256/ab/cd/<hex>` and `<hex>.crc` for a published blob, `damaged/<hex>` for one that could not be read,
`trash/ab/<hex>` for one on its way out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from steelyard_server.blobs import batch, disk, trash
from steelyard_server.blobs.blocks import corrupt
from steelyard_server.blobs.damage import Damage
from steelyard_server.blobs.marks import last_end
from steelyard_server.blobs.partial import FilePartial, marks_path
from steelyard_server.blobs.published import PublishedFiles
from steelyard_server.blobs.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from steelyard_server.blobs.store import BlobReader, StoredFile, Upload

# Room that uploads leave to the database, which must be able to commit when they cannot go on.
RESERVE_BYTES: Final = 256 << 20


class LocalStore:
    """Keep blobs in a directory, which no other process may use at the same time.

    Partial uploads of an earlier process are found again, up to what was durable.

    Args:
        root: directory, made if it is not there.
        reserve_bytes: room on its disk to leave free.

    Raises:
        StorageUnavailable: the directory cannot be used.
    """

    def __init__(self, root: Path, *, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._root = root / "sha256"
        self._directory = root / "uploads"
        self._reserve_bytes = reserve_bytes
        self._uploads = Uploads(self._make_partial)
        try:
            disk.make_directory(self._root)
            self._damage = Damage(root / "damaged")
            self._published = PublishedFiles(self._root, damage=self._damage)
            self._trash = trash.Trash(root / "trash", published=self._published)
            disk.make_directory(self._directory)
            self._find_partials()
        except OSError as error:
            raise disk.registry_error(error) from None

    def begin_upload(self, key: str) -> Upload:
        """Take the upload of this key."""
        return self._uploads.begin(key)

    def put(self, blobs: Mapping[str, bytes]) -> None:
        """Store small blobs whole, all at the price of a few syncs."""
        batch.require_right(blobs)
        try:
            size_bytes = sum(map(len, blobs.values()))
            if size_bytes > disk.free_bytes(self._directory) - self._reserve_bytes:
                raise disk.full()
            batch.publish(blobs, published=self._published, directory=self._directory)
        except OSError as error:
            raise disk.registry_error(error) from None

    def held_bytes(self, key: str) -> int:
        """Return how many bytes of a partial upload are durable."""
        return self._uploads.held_bytes(key)

    def open(self, digest: str, *, size_bytes: int) -> BlobReader:
        """Open a blob for reading."""
        reader = self._published.open(digest, size_bytes=size_bytes)
        if self._damage.is_quarantined(digest):
            reader.close()
            raise corrupt(digest)
        return reader

    def verify(self, digest: str, *, size_bytes: int, pace: Callable[[int], None]) -> None:
        """Read a blob whole and compare it with its digest."""
        with self._published.open(digest, size_bytes=size_bytes) as reader:
            reader.verify(pace)

    def contains(self, digest: str) -> bool:
        """Return whether a blob is there."""
        return self._published.path(digest).exists()

    def note_damage(self, digest: str, *, quarantine: bool = False) -> None:
        """Count a blob as missing until it is uploaded again."""
        self._damage.note(digest, quarantine=quarantine)

    def note_sound(self, digest: str) -> None:
        """Take back `note_damage`."""
        self._damage.mend([digest])

    def is_damaged(self, digest: str) -> bool:
        """Return whether a blob counts as missing."""
        return digest in self._damage

    def listing(self) -> Iterator[list[StoredFile]]:
        """List what is there of all blobs."""
        with disk.translated():
            yield from trash.listing(self._root, depth=2)

    def trash_listing(self) -> Iterator[list[StoredFile]]:
        """List what is in the trash."""
        with disk.translated():
            yield from self._trash.listing()

    def put_in_trash(self, digests: Iterable[str]) -> None:
        """Take bytes out of place and keep them in the trash."""
        with disk.translated():
            for digest in digests:
                self._trash.put(digest)

    def take_from_trash(self, digests: Iterable[str]) -> None:
        """Put bytes from the trash in place again."""
        with disk.translated():
            for digest in digests:
                self._trash.take_back(digest)

    def empty_trash(self, digests: Iterable[str]) -> int:
        """Remove bytes from the trash for good, and what was noted about blobs that are gone with them."""
        with disk.translated():
            freed_bytes = sum(map(self._trash.empty, given := list(digests)))
            self._damage.mend(digest for digest in given if not self.contains(digest))
            return freed_bytes

    def free_bytes(self) -> int:
        """Return how many bytes can still be stored."""
        with disk.translated():
            return max(disk.free_bytes(self._directory) - self._reserve_bytes, 0)

    def expire_uploads(self, *, before_time: float) -> int:
        """Remove partial uploads that are not open and were not touched since."""
        return self._uploads.expire(before_time=before_time)

    def close(self) -> None:
        """Make the bytes of open uploads durable and close everything."""
        self._uploads.close()

    def _make_partial(self, key: str, *, durable_offset: int = 0, touch_time: float = 0.0) -> FilePartial:
        return FilePartial(
            self._directory / key,
            published=self._published,
            reserve_bytes=self._reserve_bytes,
            durable_offset=durable_offset,
            touch_time=touch_time,
        )

    def _find_partials(self) -> None:
        """Note the partial uploads that are there, and delete what nobody can go on with."""
        paths = {path.name: path for path in self._directory.iterdir()}
        for name, path in paths.items():
            marks = marks_path(path)
            if marks.name in paths and (durable_offset := min(last_end(marks), path.stat().st_size)):
                touch_time = path.stat().st_mtime
                partial = self._make_partial(name, durable_offset=durable_offset, touch_time=touch_time)
                self._uploads.partials[name] = partial
        for name, path in paths.items():
            if name.removesuffix(".crc") not in self._uploads.partials:
                path.unlink()
