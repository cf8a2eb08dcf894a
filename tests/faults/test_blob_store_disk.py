"""A store on a disk that is full or does not write, and the order of its writes that durability rests on.

The disk is full for real: by the limit of the process for the size of a file, and on a small file
system where this account may mount one. A sync that fails, and the order, are seen by wrapping the
functions of the system.
"""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from steelyard_server.blobs.local import LocalStore
from steelyard_server.blobs.store import Upload
from steelyard_server.errors import StorageFull, StorageUnavailable, UploadSuperseded
from tests.api.uploads import digest_of
from tests.faults.blob_files import (
    ENDS,
    MIB,
    PARTIAL_BYTES,
    blob_path,
    finish_partial,
    is_stored,
    leave_partial,
    open_upload,
    store_blob,
    sums_path,
)
from tests.faults.blob_writer import content

SMALL_DISK_BYTES = 4 * MIB
SECONDS = 30


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Name the directory of a store."""
    return tmp_path / "blobs"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 4 MiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    options = f"size={SMALL_DISK_BYTES}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("This account may not mount a file system.")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond *size_bytes*."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def until_no_space(action: Callable[[Any], Any], arguments: list[Any]) -> None:
    """Do something again and again until the disk is full."""
    with pytest.raises(OSError, match="No space"):
        deque(map(action, arguments), maxlen=0)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Use up all room on a disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        until_no_space(file.write, [bytes(4096)] * (SMALL_DISK_BYTES // 4096))
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def no_inodes(disk: Path) -> Iterator[None]:
    """Let no file or directory be made on a small disk."""
    subprocess.run(["mount", "-o", "remount,nr_inodes=8", disk], check=True)
    names = [disk / f"inode-{number}" for number in range(100)]
    until_no_space(Path.touch, names)
    try:
        yield
    finally:
        for name in names:
            name.unlink(missing_ok=True)
        subprocess.run(["mount", "-o", "remount,nr_inodes=1000", disk], check=True)


@contextmanager
def failing(
    monkeypatch: pytest.MonkeyPatch, name: str, *, when: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """Have a function of the system fail with EIO."""
    function = getattr(os, name)

    def fail(*arguments: Any) -> Any:
        if when():
            raise OSError(errno.EIO, "Input/output error")
        return function(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        yield


@pytest.mark.parametrize("limit_bytes", [1, MIB - 1, MIB, 2 * MIB + 12345])
def test_a_full_disk_stops_an_upload_that_goes_on_when_there_is_room(root: Path, limit_bytes: int) -> None:
    data, other = content(3 * MIB), b"1"
    with closing(LocalStore(root)) as store:
        store_blob(store, other)
        with file_size_limit(limit_bytes):
            upload = open_upload(store, "key", size_bytes=len(data))
            chunks = (data[begin : begin + 100_000] for begin in range(0, len(data), 100_000))
            with pytest.raises(StorageFull):
                deque(map(upload.write, chunks), maxlen=0)
            with pytest.raises(UploadSuperseded):
                upload.write(b"x")
            assert is_stored(store, other)

        kept_bytes = limit_bytes // 100_000 * 100_000
        assert store.held_bytes("key") == kept_bytes
        assert sum(path.stat().st_size for path in (root / "uploads").glob("key")) == kept_bytes
        assert store_blob(store, data) == kept_bytes
        assert is_stored(store, data)


def test_a_full_disk_is_noticed_before_bytes_are_sent(root: Path) -> None:
    status = os.statvfs(root.parent)
    free_bytes = status.f_bavail * status.f_frsize
    with closing(LocalStore(root)) as store:
        with pytest.raises(StorageFull):
            open_upload(store, "key", size_bytes=2 * free_bytes)
        assert store_blob(store, b"small") == 0

    with closing(LocalStore(root, reserve_bytes=2 * free_bytes)) as store:
        with pytest.raises(StorageFull):
            open_upload(store, "key", size_bytes=1)
        with pytest.raises(StorageFull):
            store.put({digest_of(b"1"): b"1"})
        assert is_stored(store, b"small")


def test_a_file_system_that_fills_while_bytes_come_keeps_what_was_durable(small_disk: Path) -> None:
    data = content(3 * MIB)
    with closing(LocalStore(small_disk / "blobs", reserve_bytes=0)) as store:
        upload = open_upload(store, "key", size_bytes=len(data))
        upload.write(data[: MIB + 5])
        upload.flush()
        upload.write(data[MIB + 5 : 2 * MIB])
        with filled(small_disk):
            with pytest.raises(StorageFull):
                upload.write(data[2 * MIB :])
            assert store.held_bytes("key") >= MIB + 5
            with pytest.raises(StorageFull):
                open_upload(store, "key", size_bytes=len(data))

        assert store_blob(store, data) >= MIB + 5
        assert is_stored(store, data)


@pytest.mark.parametrize("size_bytes", [1, 3 * MIB])
def test_a_file_system_without_room_to_publish_keeps_all_that_was_durable(
    small_disk: Path, size_bytes: int
) -> None:
    data = content(size_bytes)
    with closing(LocalStore(small_disk / "blobs", reserve_bytes=0)) as store:
        upload = open_upload(store, "key", size_bytes=len(data))
        upload.write(data)
        upload.flush()
        with filled(small_disk), no_inodes(small_disk):
            with pytest.raises(StorageFull):
                upload.finish(digest_of(data))
            assert not store.contains(digest_of(data))
            assert store.held_bytes("key") == len(data)

        assert store_blob(store, data) == len(data)
        assert is_stored(store, data)


def test_bytes_whose_sync_failed_are_given_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed sync the next one may say that all is well, so only a new write can be believed."""
    data = content(3 * MIB)
    with closing(LocalStore(root)) as store:
        upload = open_upload(store, "key", size_bytes=len(data))
        upload.write(data[: MIB + 5])
        upload.flush()
        upload.write(data[MIB + 5 : 2 * MIB])
        calls = iter([True])
        with (
            failing(monkeypatch, "fdatasync", when=lambda: next(calls, False)),
            pytest.raises(StorageUnavailable),
        ):
            upload.flush()

        assert store.held_bytes("key") == MIB + 5
        assert (root / "uploads" / "key").stat().st_size == MIB + 5
        assert store_blob(store, data) == MIB + 5
        assert is_stored(store, data)


def test_a_blob_whose_sync_failed_is_not_published(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = content(2 * MIB)
    with closing(LocalStore(root)) as store:
        upload = open_upload(store, "key", size_bytes=len(data))
        upload.write(data[:MIB])
        upload.flush()
        upload.write(data[MIB:])
        calls = iter([True])
        with (
            failing(monkeypatch, "fdatasync", when=lambda: next(calls, False)),
            pytest.raises(StorageUnavailable),
        ):
            upload.finish(digest_of(data))

        assert not store.contains(digest_of(data))
        assert store.held_bytes("key") == MIB
        assert store_blob(store, data) == MIB
        assert is_stored(store, data)


def test_a_blob_whose_name_is_not_durable_is_not_acknowledged(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = content(2 * MIB)
    with closing(LocalStore(root)) as store:
        with failing(monkeypatch, "fsync"), pytest.raises(StorageUnavailable):
            store_blob(store, data)
        with failing(monkeypatch, "fsync"), pytest.raises(StorageUnavailable):
            store_blob(store, data)

        store_blob(store, data)
        assert is_stored(store, data)


def test_an_upload_that_fails_late_does_not_cut_a_blob_that_another_was_told_of(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both publish the same blob; one is told that it is durable, then the disk fails under the other."""
    data = content(2 * MIB)
    rename = os.rename
    failed = False

    with closing(LocalStore(root)) as store:

        def rename_late(source: Path, target: Path) -> None:
            nonlocal failed
            if source == root / "uploads" / "late" and not failed:
                store_blob(store, data, key="first")
                failed = True
            rename(source, target)

        monkeypatch.setattr(os, "rename", rename_late)
        with (
            failing(monkeypatch, "fsync", when=lambda: failed),
            failing(monkeypatch, "fdatasync", when=lambda: failed),
            pytest.raises(StorageUnavailable),
        ):
            store_blob(store, data, key="late")

        assert failed
        assert is_stored(store, data)


def test_an_upload_taken_over_while_its_bytes_are_read_again_loses_none(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_partial(root)
    pread = os.pread
    newer: list[Future[Upload]] = []

    with closing(LocalStore(root)) as store, ThreadPoolExecutor(1) as pool:

        def take_over(file: int, length: int, offset: int) -> bytes:
            if offset == MIB and not newer:
                older = store._uploads.partials["key"].owner
                newer.append(pool.submit(open_upload, store, "key", size_bytes=PARTIAL_BYTES))
                deadline = time.monotonic() + SECONDS
                while store._uploads.partials["key"].owner is older and time.monotonic() < deadline:
                    time.sleep(0.001)
            return pread(file, length, offset)

        monkeypatch.setattr(os, "pread", take_over)
        with pytest.raises(UploadSuperseded):
            open_upload(store, "key", size_bytes=PARTIAL_BYTES)
        upload = newer[0].result(SECONDS)

        assert (upload.offset, upload.durable_offset) == (ENDS[-1], ENDS[-1])
        upload.close()
    assert finish_partial(root) == ENDS[-1]


def test_reading_an_upload_again_ends_when_it_is_abandoned(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_partial(root)
    pread = os.pread
    offsets: list[int] = []

    with closing(LocalStore(root)) as store:
        upload = store.begin_upload("key")

        def abandon(file: int, length: int, offset: int) -> bytes:
            offsets.append(offset)
            if len(offsets) == 2:
                upload.abandon()
            return pread(file, length, offset)

        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", abandon)
            with pytest.raises(UploadSuperseded):
                upload.open(size_bytes=PARTIAL_BYTES)
        upload.close()

        assert len(offsets) == 2, "One read of the marks and one block."
        assert store._uploads.partials["key"].owner is None
        assert store.expire_uploads(before_time=time.time() + 3600) == 1


def test_an_upload_that_is_being_removed_holds_up_no_other_and_begins_anew(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, _ = leave_partial(root)
    unlink = os.unlink
    removing, go_on = threading.Event(), threading.Event()

    def unlink_late(path: Path) -> None:
        if path == left:
            removing.set()
            assert go_on.wait(SECONDS)
        unlink(path)

    with closing(LocalStore(root)) as store, ThreadPoolExecutor(3) as pool:
        monkeypatch.setattr(os, "unlink", unlink_late)
        expired = pool.submit(store.expire_uploads, before_time=time.time() + 3600)
        assert removing.wait(SECONDS)
        same = pool.submit(store_blob, store, content(PARTIAL_BYTES))
        try:
            pool.submit(open_upload, store, "other", size_bytes=1).result(SECONDS).close()
        finally:
            go_on.set()

        assert (expired.result(SECONDS), same.result(SECONDS)) == (1, 0)
        assert is_stored(store, content(PARTIAL_BYTES))


def test_uploads_that_kept_nothing_are_forgotten(root: Path) -> None:
    with closing(LocalStore(root)) as store:
        for number in range(3):
            open_upload(store, f"left-{number}", size_bytes=1).close()
            open_upload(store, f"discarded-{number}", size_bytes=1).discard()
            store_blob(store, b"1", key=f"finished-{number}")

        assert store._uploads.partials == {}
    assert list((root / "uploads").iterdir()) == []


class Order:
    """Note in which order files are written, synced and named; files by inode, as their names change."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[tuple[str, int | Path]] = []
        functions = {name: getattr(os, name) for name in ("pwrite", "fsync", "fdatasync", "rename", "mkdir")}

        def on_descriptor(name: str) -> Callable[..., Any]:
            def call(file: int, *arguments: Any) -> Any:
                self.steps.append(("write" if name == "pwrite" else "sync", os.fstat(file).st_ino))
                return functions[name](file, *arguments)

            return call

        def rename(source: Path, target: Path) -> None:
            self.steps.append(("name", target))
            functions["rename"](source, target)

        def mkdir(path: Path, mode: int = 0o777) -> None:
            functions["mkdir"](path, mode)
            self.steps.append(("name", path))

        for name in ("pwrite", "fsync", "fdatasync"):
            monkeypatch.setattr(os, name, on_descriptor(name))
        monkeypatch.setattr(os, "rename", rename)
        monkeypatch.setattr(os, "mkdir", mkdir)

    def last(self, what: str, where: Path) -> int:
        """Return when something was last done to a file."""
        wanted = where if what == "name" else where.stat().st_ino
        return max(index for index, step in enumerate(self.steps) if step == (what, wanted))

    def require_durable(self, path: Path) -> None:
        """Demand: written, synced, named, the directory synced."""
        written, synced = self.last("write", path), self.last("sync", path)
        named, directory_synced = self.last("name", path), self.last("sync", path.parent)
        assert written < synced < named < directory_synced, self.steps


@pytest.mark.parametrize("size_bytes", [1, MIB, 2 * MIB + 1])
def test_a_blob_is_synced_before_it_gets_its_name_and_its_directory_after(
    root: Path, monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    data = content(size_bytes)
    with closing(LocalStore(root)) as store:
        order = Order(monkeypatch)
        store_blob(store, data)

    path, sums = blob_path(root, data), sums_path(root, data)
    order.require_durable(path)
    for directory in (path.parent, path.parent.parent):
        assert order.last("name", directory) < order.last("sync", directory.parent)
    if size_bytes > MIB:
        order.require_durable(sums)
        assert order.last("name", sums) < order.last("name", path)
        between = order.steps[order.last("name", sums) : order.last("name", path)]
        assert ("sync", path.parent.stat().st_ino) in between


def test_a_small_blob_that_is_put_is_synced_in_the_same_order(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(LocalStore(root)) as store:
        order = Order(monkeypatch)
        store.put({digest_of(b"small"): b"small"})

    order.require_durable(blob_path(root, b"small"))


def test_a_blob_that_is_there_already_is_acknowledged_after_its_directory_is_synced(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever stored it may not have come that far."""
    with closing(LocalStore(root)) as store:
        store_blob(store, b"there")
        order = Order(monkeypatch)
        store_blob(store, b"there", key="uploaded")
        uploaded = order.last("sync", blob_path(root, b"there").parent)
        store.put({digest_of(b"there"): b"there"})

        assert order.last("sync", blob_path(root, b"there").parent) > uploaded


def test_a_blob_that_is_there_already_is_replaced_and_not_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a large one would take minutes; and it may be gone the moment after it was looked at."""
    data = content(3 * MIB)
    with closing(LocalStore(root)) as store:
        store_blob(store, data)
        store.put({digest_of(b"small"): b"small"})
        before = blob_path(root, data).stat().st_ino, blob_path(root, b"small").stat().st_ino

        with failing(monkeypatch, "pread"):
            store_blob(store, data)
            store.put({digest_of(b"small"): b"small"})

        after = blob_path(root, data).stat().st_ino, blob_path(root, b"small").stat().st_ino
        assert before[0] != after[0]
        assert before[1] != after[1]
        assert is_stored(store, data)


def test_a_flush_syncs_bytes_and_marks_and_the_first_one_their_names(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, marks = root / "uploads" / "key", root / "uploads" / "key.crc"
    with closing(LocalStore(root)) as store:
        upload = open_upload(store, "key", size_bytes=2 * MIB)
        order = Order(monkeypatch)
        for _ in range(2):
            upload.write(content(MIB))
            upload.flush()
            assert order.last("write", file) < order.last("sync", file)
            assert order.last("write", marks) < order.last("sync", marks)
            assert order.last("sync", file.parent) > order.steps.index(("sync", marks.stat().st_ino))
