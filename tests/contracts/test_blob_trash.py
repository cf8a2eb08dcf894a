"""The way out of every blob store: the trash, listings, verification and quarantine."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from steelyard_server.blobs.store import BlobStore
from steelyard_server.errors import BlobCorrupt, BlobLost, DigestInvalid
from tests.api.uploads import digest_of
from tests.contracts.blob_stores import MIB, Kind, is_stored, some_bytes, store_blob

SIZES = [0, 5, MIB, MIB + 1, 3 * MIB]


def in_place(store: BlobStore) -> dict[str, int]:
    return {file.digest: file.size_bytes for page in store.listing() for file in page}


def in_trash(store: BlobStore) -> dict[str, int]:
    return {file.digest: file.size_bytes for page in store.trash_listing() for file in page}


def verify(store: BlobStore, data: bytes) -> int:
    """Verify a blob and return how many bytes were read."""
    steps: list[int] = []
    store.verify(digest_of(data), size_bytes=len(data), pace=steps.append)
    return sum(steps)


@pytest.mark.parametrize("size_bytes", SIZES)
def test_what_is_in_the_trash_is_not_there_until_it_is_taken_back(store: BlobStore, size_bytes: int) -> None:
    data = some_bytes(size_bytes)
    digest = store_blob(store, data)
    store.put_in_trash([digest])

    assert not store.contains(digest)
    with pytest.raises(BlobLost):
        is_stored(store, data)
    assert (in_place(store), in_trash(store)) == ({}, {digest: size_bytes})
    store.take_from_trash([digest])
    assert is_stored(store, data)
    assert (in_place(store), in_trash(store)) == ({digest: size_bytes}, {})


@pytest.mark.parametrize("size_bytes", SIZES)
def test_what_is_removed_from_the_trash_is_gone(store: BlobStore, size_bytes: int) -> None:
    data = some_bytes(size_bytes)
    digest = store_blob(store, data)
    store.put_in_trash([digest])

    assert store.empty_trash([digest]) >= size_bytes
    assert (in_place(store), in_trash(store)) == ({}, {})
    assert store.empty_trash([digest]) == 0


@pytest.mark.parametrize("size_bytes", [5, 3 * MIB])
def test_a_blob_that_is_stored_again_meanwhile_stays_whatever_becomes_of_the_trash(
    store: BlobStore, size_bytes: int
) -> None:
    data = some_bytes(size_bytes)
    digest = store_blob(store, data)
    store.put_in_trash([digest])
    store_blob(store, data)

    store.take_from_trash([digest])
    assert is_stored(store, data)
    store.empty_trash([digest])
    assert is_stored(store, data)
    store.put_in_trash([digest])
    store_blob(store, data)
    store.put_in_trash([digest])
    assert in_trash(store) == {digest: size_bytes}


def test_moving_what_is_not_there_does_nothing(store: BlobStore) -> None:
    digest = digest_of(b"none")
    store.put_in_trash([digest])
    store.take_from_trash([digest])
    assert store.empty_trash([digest]) == 0
    assert (in_place(store), in_trash(store)) == ({}, {})


def test_time_in_the_trash_begins_with_the_move(store: BlobStore) -> None:
    digest = store_blob(store, b"12345")
    before = time.time()
    store.put_in_trash([digest])
    ((file,),) = store.trash_listing()
    assert before - 1 <= file.modify_time <= time.time() + 1


def test_a_malformed_digest_moves_nothing(store: BlobStore) -> None:
    for action in (store.put_in_trash, store.take_from_trash, store.empty_trash):
        with pytest.raises(DigestInvalid):
            action(["sha256:../../../etc/passwd"])


def test_listings_have_all_blobs_in_pages(store: BlobStore) -> None:
    contents = {digest_of(data): data for data in (b"%d" % number for number in range(2300))}
    store.put(contents)
    assert in_place(store).keys() == contents.keys()
    store.put_in_trash(contents)
    assert in_trash(store).keys() == contents.keys()


@pytest.mark.parametrize("size_bytes", SIZES)
def test_verification_reads_every_byte_of_a_blob(store: BlobStore, size_bytes: int) -> None:
    data = some_bytes(size_bytes)
    store_blob(store, data)
    assert verify(store, data) == size_bytes


def test_verification_of_what_is_not_there_says_so(store: BlobStore) -> None:
    with pytest.raises(BlobLost):
        verify(store, b"none")


def test_what_the_pace_raises_ends_a_verification(store: BlobStore) -> None:
    data = some_bytes(3 * MIB)
    store_blob(store, data)

    def stop(_: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        store.verify(digest_of(data), size_bytes=len(data), pace=stop)
    assert is_stored(store, data)


@pytest.mark.parametrize("size_bytes", [5, 3 * MIB])
def test_a_quarantined_blob_is_not_served_until_it_is_stored_again_or_released(
    store: BlobStore, size_bytes: int
) -> None:
    data = some_bytes(size_bytes)
    digest = store_blob(store, data)
    for release in (lambda: store_blob(store, data), lambda: store.note_sound(digest)):
        store.note_damage(digest, quarantine=True)
        with pytest.raises(BlobCorrupt):
            is_stored(store, data)
        store.note_damage(digest)
        assert verify(store, data) == size_bytes
        assert store.is_damaged(digest)
        with pytest.raises(BlobCorrupt):
            is_stored(store, data)
        release()
        assert not store.is_damaged(digest)
        assert is_stored(store, data)


def test_what_a_read_found_damaged_is_asked_for_again_and_what_is_sound_of_it_served(
    store: BlobStore,
) -> None:
    digest = store_blob(store, b"12345")
    store.note_damage(digest)
    assert store.is_damaged(digest)
    assert is_stored(store, b"12345")
    store_blob(store, b"12345")
    assert not store.is_damaged(digest)


def test_quarantine_ends_with_the_blob_and_outlasts_a_restart(kind: Kind) -> None:
    with closing(kind.open()) as store:
        digest = store_blob(store, b"12345")
        store.note_damage(digest, quarantine=True)
    with closing(kind.open()) as store:
        assert store.is_damaged(digest)
        with pytest.raises(BlobCorrupt):
            is_stored(store, b"12345")
        store.put_in_trash([digest])
        store.empty_trash([digest])
        assert not store.is_damaged(digest)
    with closing(kind.open()) as store:
        assert not store.is_damaged(digest)


def test_room_is_known(store: BlobStore) -> None:
    assert store.free_bytes() > 0
