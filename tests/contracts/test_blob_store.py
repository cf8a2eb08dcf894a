"""What every blob store promises, on a disk and in memory: `blobs.store.BlobStore` as sentences."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from steelyard_server.blobs.local import LocalStore
from steelyard_server.blobs.memory import MemoryStore
from steelyard_server.blobs.store import BlobStore, Upload
from steelyard_server.errors import (
    BlobLost,
    DigestInvalid,
    DigestMismatch,
    RegistryError,
    SizeMismatch,
    UploadIncomplete,
    UploadSuperseded,
)
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


@pytest.fixture(params=[OnDisk, InMemory], ids=["disk", "memory"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    make: Callable[[Path], Kind] = request.param
    return make(tmp_path)


@pytest.fixture
def store(kind: Kind) -> Iterator[BlobStore]:
    with closing(kind.open()) as opened:
        yield opened


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


@pytest.mark.parametrize("chunk_bytes", [1, 7, 4097, MIB - 1, MIB, MIB + 1, 5 * MIB])
def test_chunks_of_any_size_give_the_same_blob(store: BlobStore, chunk_bytes: int) -> None:
    data = some_bytes(5000 if chunk_bytes < 100 else 3 * MIB + 12345)
    with closing(open_upload(store, "key", size_bytes=len(data))) as upload:
        write(upload, data, chunk_bytes=chunk_bytes)
        assert upload.offset == len(data)
        upload.finish(digest_of(data))

    assert store.contains(digest_of(data))
    assert is_stored(store, data)


@pytest.mark.parametrize("size_bytes", [0, *SIZES])
def test_a_blob_of_any_size_is_read_back(store: BlobStore, size_bytes: int) -> None:
    data = some_bytes(size_bytes)
    store_blob(store, data)

    assert is_stored(store, data)


def test_a_finished_upload_leaves_no_partial_and_its_key_is_free(store: BlobStore) -> None:
    store_blob(store, b"first")

    assert store.held_bytes("key") == 0
    assert is_stored(store, b"first")
    store_blob(store, b"second")
    assert is_stored(store, b"second")


def test_a_blob_is_not_there_before_it_is_finished(store: BlobStore) -> None:
    data = some_bytes(2 * MIB)
    with closing(open_upload(store, "key", size_bytes=len(data))) as upload:
        write(upload, data)
        upload.flush()

        assert not store.contains(digest_of(data))
        with pytest.raises(BlobLost):
            store.open(digest_of(data), size_bytes=len(data))
        upload.finish(digest_of(data))
    assert store.contains(digest_of(data))


@pytest.mark.parametrize("size_bytes", [0, 1, MIB, 2 * MIB + 1])
def test_a_wrong_digest_deletes_the_partial(store: BlobStore, size_bytes: int) -> None:
    data, other = some_bytes(size_bytes), digest_of(b"other")
    upload = open_upload(store, "key", size_bytes=len(data))
    write(upload, data)
    upload.flush()

    with pytest.raises(DigestMismatch) as raised:
        upload.finish(other)

    assert raised.value.metadata == {"expected": other, "actual": digest_of(data)}
    assert not store.contains(other)
    assert not store.contains(digest_of(data))
    assert store.held_bytes("key") == 0
    assert open_upload(store, "key", size_bytes=len(data)).offset == 0


def test_too_many_bytes_delete_the_partial(store: BlobStore) -> None:
    upload = open_upload(store, "key", size_bytes=MIB)
    upload.write(some_bytes(MIB - 1))
    upload.flush()

    with pytest.raises(SizeMismatch) as raised:
        upload.write(b"12")

    assert raised.value.metadata == {"expected_bytes": str(MIB), "actual_bytes": str(MIB + 1)}
    assert store.held_bytes("key") == 0


def test_a_finish_that_comes_too_early_costs_no_bytes(store: BlobStore) -> None:
    data = some_bytes(MIB + 1)
    upload = open_upload(store, "key", size_bytes=len(data))
    write(upload, data[:MIB])

    with pytest.raises(UploadIncomplete) as raised:
        upload.finish(digest_of(data))

    assert raised.value.metadata == {"expected_bytes": str(MIB + 1), "actual_bytes": str(MIB)}
    assert store.held_bytes("key") == MIB
    assert store_blob(store, data) == digest_of(data)
    assert is_stored(store, data)


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:" + "A" * 64, "md5:" + "0" * 64, "../" * 21 + "0"])
def test_a_malformed_digest_names_nothing_and_costs_no_bytes(store: BlobStore, digest: str) -> None:
    data = some_bytes(MIB + 5)
    upload = open_upload(store, "key", size_bytes=len(data))
    write(upload, data)

    for action in (
        lambda: upload.finish(digest),
        lambda: store.contains(digest),
        lambda: store.open(digest, size_bytes=1),
    ):
        assert refusal(action) == DigestInvalid.reason
    assert store.held_bytes("key") == len(data)


@pytest.mark.parametrize("key", ["", "a/b", "..", "a.crc", "é", "x" * 129])
def test_a_key_that_could_be_a_path_is_refused(store: BlobStore, key: str) -> None:
    with pytest.raises(ValueError, match="A key has"):
        open_upload(store, key, size_bytes=1)


@pytest.mark.parametrize("sent_bytes", [*SIZES, 0])
def test_an_upload_that_was_left_goes_on_at_any_byte(store: BlobStore, sent_bytes: int) -> None:
    data = some_bytes(4 * MIB)
    with closing(open_upload(store, "key", size_bytes=len(data))) as first:
        write(first, data[:sent_bytes], chunk_bytes=70_001)

    assert store.held_bytes("key") == sent_bytes
    with closing(open_upload(store, "key", size_bytes=len(data))) as second:
        assert (second.offset, second.durable_offset) == (sent_bytes, sent_bytes)
        write(second, data)
        second.finish(digest_of(data))
    assert is_stored(store, data)


def test_an_upload_may_be_left_again_and_again(store: BlobStore) -> None:
    data = some_bytes(3 * MIB + 5)
    for end in [1, 2, 4096, MIB - 1, MIB + 1, MIB + 2, 3 * MIB, 3 * MIB + 1]:
        with closing(open_upload(store, "key", size_bytes=len(data))) as upload:
            write(upload, data[:end])
    assert store.held_bytes("key") == 3 * MIB + 1

    store_blob(store, data)
    assert is_stored(store, data)


def test_the_offset_that_is_durable_grows_with_a_flush_only(store: BlobStore) -> None:
    data = some_bytes(2 * MIB)
    with closing(open_upload(store, "key", size_bytes=len(data))) as upload:
        upload.write(data[: MIB + 3])
        before = (upload.offset, upload.durable_offset, store.held_bytes("key"))
        assert upload.flush() == MIB + 3
        upload.write(data[MIB + 3 :])

        assert before == (MIB + 3, 0, 0)
        assert (upload.offset, upload.durable_offset, store.held_bytes("key")) == (2 * MIB, MIB + 3, MIB + 3)


def test_a_partial_of_another_size_or_begun_from_the_start_is_dropped(store: BlobStore) -> None:
    data = some_bytes(MIB + 1)
    for size_bytes, from_start in [(len(data) + 1, False), (len(data), True)]:
        with closing(open_upload(store, "key", size_bytes=len(data), from_start=True)) as first:
            write(first, data)
        with closing(open_upload(store, "key", size_bytes=size_bytes, from_start=from_start)) as second:
            assert (second.offset, second.durable_offset) == (0, 0)
        assert store.held_bytes("key") == 0


def test_a_newer_upload_takes_over_and_the_older_one_can_do_nothing_more(store: BlobStore) -> None:
    data = some_bytes(3 * MIB)
    older = open_upload(store, "key", size_bytes=len(data))
    write(older, data[: MIB + 9])

    newer = open_upload(store, "key", size_bytes=len(data))

    assert newer.offset == MIB + 9
    actions: list[Callable[[], object]] = [
        lambda: older.write(b"x"),
        older.flush,
        lambda: older.finish(digest_of(data)),
        older.discard,
    ]
    assert [refusal(action) for action in actions] == [UploadSuperseded.reason] * 4
    older.close()
    write(newer, data)
    newer.finish(digest_of(data))
    assert is_stored(store, data)


def test_an_upload_that_is_abandoned_keeps_what_is_durable_when_it_is_closed(store: BlobStore) -> None:
    data = some_bytes(3 * MIB)
    upload = open_upload(store, "key", size_bytes=len(data))
    write(upload, data[: MIB + 9])

    upload.abandon()

    assert refusal(upload.flush) == UploadSuperseded.reason
    upload.close()
    assert store.expire_uploads(before_time=time.time() - 3600) == 0
    assert store.held_bytes("key") == MIB + 9
    store_blob(store, data)
    assert is_stored(store, data)


def test_an_upload_that_was_begun_and_not_opened_loses_nothing(store: BlobStore) -> None:
    data = some_bytes(2 * MIB)
    with closing(open_upload(store, "key", size_bytes=len(data))) as upload:
        write(upload, data[:MIB])

    store.begin_upload("key").close()

    assert store.held_bytes("key") == MIB
    assert open_upload(store, "key", size_bytes=len(data)).offset == MIB


def test_a_newer_upload_of_another_size_begins_anew_while_the_older_one_is_open(store: BlobStore) -> None:
    older = open_upload(store, "key", size_bytes=9)
    older.write(b"12345")
    older.flush()

    with closing(open_upload(store, "key", size_bytes=3)) as newer:
        assert (newer.offset, newer.durable_offset, store.held_bytes("key")) == (0, 0, 0)
        assert refusal(older.flush) == UploadSuperseded.reason
        newer.write(b"abc")
        newer.finish(digest_of(b"abc"))
    assert is_stored(store, b"abc")


def test_of_many_uploads_with_one_key_the_newest_gets_through(store: BlobStore) -> None:
    """Each thread writes what it can; whoever is taken over stops, and the bytes come out right."""
    data = some_bytes(6 * MIB)
    start = threading.Barrier(6)

    def upload_all() -> str:
        start.wait(SECONDS)
        with closing(open_upload(store, "key", size_bytes=len(data))) as upload:
            write(upload, data, chunk_bytes=50_000)
            upload.finish(digest_of(data))
        return ""

    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(refusal, upload_all) for _ in range(6)]
        outcomes = [future.result(SECONDS) for future in futures]

    assert set(outcomes) <= {"", UploadSuperseded.reason}
    assert "" in outcomes
    assert is_stored(store, data)


def test_an_upload_that_ended_can_do_nothing_more(store: BlobStore) -> None:
    finished = open_upload(store, "finished", size_bytes=0)
    finished.finish(digest_of(b""))
    closed = open_upload(store, "closed", size_bytes=1)
    closed.close()
    discarded = open_upload(store, "discarded", size_bytes=1)
    discarded.discard()
    failed = open_upload(store, "failed", size_bytes=1)
    assert refusal(lambda: failed.write(b"12")) == SizeMismatch.reason

    for upload in (finished, closed, discarded, failed):
        with pytest.raises(UploadSuperseded):
            upload.flush()
        upload.close()


def test_a_discarded_upload_is_gone(store: BlobStore) -> None:
    upload = open_upload(store, "key", size_bytes=2)
    upload.write(b"1")
    upload.flush()

    upload.discard()

    assert store.held_bytes("key") == 0
    assert open_upload(store, "key", size_bytes=2).offset == 0


def test_uploads_with_other_keys_do_not_disturb_each_other(store: BlobStore) -> None:
    contents = {f"key-{seed}": some_bytes(2 * MIB + seed, seed=seed) for seed in range(4)}
    uploads = {key: open_upload(store, key, size_bytes=len(data)) for key, data in contents.items()}
    for begin in range(0, 2 * MIB + 4, 300_000):
        for key, upload in uploads.items():
            upload.write(contents[key][begin : begin + 300_000])
    for key, upload in uploads.items():
        upload.finish(digest_of(contents[key]))

    for data in contents.values():
        assert is_stored(store, data)


@pytest.mark.parametrize("size_bytes", [0, 1, MIB, 2 * MIB + 1])
def test_the_same_blob_from_many_uploads_at_once_is_stored(store: BlobStore, size_bytes: int) -> None:
    data = some_bytes(size_bytes)
    start = threading.Barrier(6)

    def upload_one(key: str) -> None:
        with closing(open_upload(store, key, size_bytes=len(data))) as upload:
            write(upload, data)
            start.wait(SECONDS)
            upload.finish(digest_of(data))
        assert is_stored(store, data)

    with ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(upload_one, f"key-{number}") for number in range(6)]:
            future.result(SECONDS)
    assert is_stored(store, data)


@pytest.mark.parametrize("size_bytes", [0, 10, MIB, 3 * MIB + 17])
def test_any_range_of_a_blob_is_read(store: BlobStore, size_bytes: int) -> None:
    data = some_bytes(size_bytes)
    store_blob(store, data)
    random = Random(size_bytes)  # noqa: S311 - places to read, not a secret
    edges = [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, size_bytes - 1, size_bytes, size_bytes + 1, 9 * MIB]
    ranges = [(offset, length) for offset in edges for length in edges if min(offset, length) >= 0]
    ranges += [(random.randrange(4 * MIB), random.randrange(2 * MIB)) for _ in range(50)]

    with store.open(digest_of(data), size_bytes=size_bytes) as reader:
        assert reader.size_bytes == size_bytes
        for offset, length in ranges:
            is_right = reader.read(offset, length) == data[offset : offset + length]
            assert is_right, f"bytes {offset} to {offset + length} of {size_bytes}"


def test_a_blob_that_is_not_there_or_has_another_size_is_lost(store: BlobStore) -> None:
    digest = store_blob(store, b"12345")

    for wanted, size_bytes in [(digest_of(b"missing"), 7), (digest, 4), (digest, 6)]:
        with pytest.raises(BlobLost) as raised:
            store.open(wanted, size_bytes=size_bytes)
        assert raised.value.metadata == {"digest": wanted}
    assert not store.contains(digest_of(b"missing"))


def test_a_blob_that_is_lost_counts_as_missing_until_it_is_stored(store: BlobStore) -> None:
    for data, upload in ((b"in chunks", store_blob), (b"in a batch", put_blob)):
        with pytest.raises(BlobLost):
            store.open(digest_of(data), size_bytes=len(data))
        assert store.is_damaged(digest_of(data))

        upload(store, data)

        assert not store.is_damaged(digest_of(data))


def put_blob(store: BlobStore, data: bytes) -> None:
    store.put({digest_of(data): data})


@pytest.mark.parametrize("upload", [store_blob, put_blob])
def test_a_blob_that_is_read_can_be_stored_again(
    store: BlobStore, upload: Callable[[BlobStore, bytes], object]
) -> None:
    data = some_bytes(MIB)
    upload(store, data)
    with store.open(digest_of(data), size_bytes=len(data)) as reader:
        assert reader.read(0, 1) == data[:1]

        upload(store, data)

        is_right = reader.read(0, MIB) == data
        assert is_right
    assert is_stored(store, data)


def test_uploads_that_nobody_touched_expire_and_those_that_are_open_do_not(store: BlobStore) -> None:
    for key in ("left", "open"):
        with closing(open_upload(store, key, size_bytes=2)) as upload:
            upload.write(b"1")
    with closing(open_upload(store, "open", size_bytes=2)) as upload:
        assert store.expire_uploads(before_time=time.time() - 3600) == 0
        assert store.held_bytes("left") == 1

        assert store.expire_uploads(before_time=time.time() + 3600) == 1

        assert (store.held_bytes("left"), store.held_bytes("open")) == (0, 1)
        upload.write(b"2")
        upload.finish(digest_of(b"12"))
    assert open_upload(store, "left", size_bytes=2).offset == 0
    assert is_stored(store, b"12")


def test_closing_keeps_blobs_and_the_bytes_of_open_uploads(kind: Kind) -> None:
    data, other = some_bytes(2 * MIB + 77), some_bytes(MIB, seed=8)
    with closing(kind.open()) as first:
        store_blob(first, other, key="other")
        left = open_upload(first, "key", size_bytes=len(data))
        write(left, data[: MIB + 77])
        first.close()
        with pytest.raises(UploadSuperseded):
            left.write(b"x")

    with closing(kind.open()) as second:
        assert is_stored(second, other)
        assert second.held_bytes("key") == MIB + 77
        with closing(open_upload(second, "key", size_bytes=len(data))) as upload:
            assert upload.offset == MIB + 77
            write(upload, data)
            upload.finish(digest_of(data))
        assert is_stored(second, data)


def test_an_upload_of_an_earlier_process_expires_too(kind: Kind) -> None:
    with closing(kind.open()) as first, closing(open_upload(first, "key", size_bytes=2)) as upload:
        upload.write(b"1")

    with closing(kind.open()) as second:
        assert second.expire_uploads(before_time=time.time() - 3600) == 0
        assert second.expire_uploads(before_time=time.time() + 3600) == 1
        assert second.held_bytes("key") == 0


def test_small_blobs_are_stored_together(store: BlobStore) -> None:
    blobs = [some_bytes(size_bytes, seed=size_bytes) for size_bytes in (0, 1, 2000, 20_000, MIB)]
    store_blob(store, blobs[1])

    store.put({digest_of(data): data for data in blobs})

    for data in blobs:
        assert is_stored(store, data)


def test_of_small_blobs_none_is_stored_when_one_is_wrong(store: BlobStore) -> None:
    with pytest.raises(DigestMismatch) as raised:
        store.put({digest_of(b"right"): b"right", digest_of(b"declared"): b"sent"})

    assert raised.value.metadata == {"expected": digest_of(b"declared"), "actual": digest_of(b"sent")}
    assert not store.contains(digest_of(b"right"))
    assert not store.contains(digest_of(b"declared"))
