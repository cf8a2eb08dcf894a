"""What every blob store promises of uploads that are left, taken over and gone on with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from steelyard_server.blobs.store import BlobStore
from steelyard_server.errors import (
    SizeMismatch,
    UploadSuperseded,
)
from tests.api.uploads import digest_of
from tests.contracts.blob_stores import (
    MIB,
    SECONDS,
    SIZES,
    Kind,
    is_stored,
    refusal,
    some_bytes,
    store_blob,
    write,
)
from tests.faults.blob_files import open_upload


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
