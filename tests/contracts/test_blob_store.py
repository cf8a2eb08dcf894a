"""What every blob store promises, on a disk and in memory: `blobs.store.BlobStore` as sentences."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from random import Random

import pytest

from steelyard_server.blobs.store import BlobStore
from steelyard_server.errors import (
    BlobLost,
    DigestInvalid,
    DigestMismatch,
    SizeMismatch,
    UploadIncomplete,
)
from tests.api.uploads import digest_of
from tests.contracts.blob_stores import (
    MIB,
    SIZES,
    is_stored,
    refusal,
    some_bytes,
    store_blob,
    write,
)
from tests.faults.blob_files import open_upload


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
