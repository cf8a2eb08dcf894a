"""Files that are damaged on a disk: published blobs are not served, partial uploads go on lower."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from steelyard_server.blobs.local import LocalStore
from steelyard_server.errors import BlobCorrupt, BlobLost, DataLoss
from tests.api.uploads import digest_of
from tests.faults.blob_files import (
    ENDS,
    MIB,
    PARTIAL_BYTES,
    blob_path,
    finish_partial,
    flip,
    is_stored,
    leave_partial,
    open_upload,
    store_blob,
    sums_path,
)
from tests.faults.blob_writer import content

RECORD_BYTES = 12


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Name the directory of a store."""
    return tmp_path / "blobs"


@pytest.mark.parametrize("size_bytes", [1, MIB, MIB + 1, 3 * MIB])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0], ids=["first", "middle", "last"])
def test_a_flipped_bit_is_never_served(root: Path, size_bytes: int, place: float) -> None:
    data, damaged = content(size_bytes), int((size_bytes - 1) * place)
    with closing(LocalStore(root)) as store:
        store_blob(store, data)
        flip(blob_path(root, data), damaged)

        with store.open(digest_of(data), size_bytes=size_bytes) as reader:
            for begin in range(0, size_bytes, MIB):
                if begin // MIB != damaged // MIB:
                    is_right = reader.read(begin, MIB) == data[begin : begin + MIB]
                    assert is_right, "A block that is sound is served."
                    continue
                for offset, length in [(begin, 1), (begin, MIB), (damaged, 1), (0, size_bytes)]:
                    with pytest.raises(BlobCorrupt) as raised:
                        reader.read(offset, length)
                    assert raised.value.metadata == {"digest": digest_of(data)}
    assert issubclass(BlobCorrupt, DataLoss)


@pytest.mark.parametrize("place", [0, 5, 11])
def test_a_blob_with_damaged_checks_is_not_served(root: Path, place: int) -> None:
    data = content(3 * MIB)
    with closing(LocalStore(root)) as store:
        store_blob(store, data)
        flip(sums_path(root, data), place)

        with pytest.raises(BlobCorrupt):
            is_stored(store, data)


@pytest.mark.parametrize("sums_bytes", [0, 3, 11])
def test_a_blob_with_lost_checks_is_not_served(root: Path, sums_bytes: int) -> None:
    data = content(3 * MIB)
    with closing(LocalStore(root)) as store:
        store_blob(store, data)
        os.truncate(sums_path(root, data), sums_bytes)
        with pytest.raises(BlobCorrupt):
            is_stored(store, data)

        sums_path(root, data).unlink()
        with pytest.raises(BlobCorrupt):
            is_stored(store, data)


@pytest.mark.parametrize("size_bytes", [1, MIB, 3 * MIB])
@pytest.mark.parametrize("change", [-1, 1], ids=["shorter", "longer"])
def test_a_file_of_another_size_is_lost(root: Path, size_bytes: int, change: int) -> None:
    data = content(size_bytes)
    with closing(LocalStore(root)) as store:
        store_blob(store, data)
        os.truncate(blob_path(root, data), size_bytes + change)

        with pytest.raises(BlobLost):
            is_stored(store, data)
    assert issubclass(BlobLost, DataLoss)


def test_a_file_that_is_cut_while_it_is_read_is_not_served(root: Path) -> None:
    data = content(3 * MIB)
    with closing(LocalStore(root)) as store:
        store_blob(store, data)
        with store.open(digest_of(data), size_bytes=len(data)) as reader:
            os.truncate(blob_path(root, data), 2 * MIB + 1)

            with pytest.raises(BlobCorrupt):
                reader.read(2 * MIB, 1)


@pytest.mark.parametrize("size_bytes", [1, MIB, 3 * MIB])
def test_a_damaged_blob_that_is_uploaded_again_is_sound(root: Path, size_bytes: int) -> None:
    data = content(size_bytes)
    with closing(LocalStore(root)) as store:
        for damage in (lambda path: flip(path, 0), lambda path: os.truncate(path, 0), Path.unlink):
            store_blob(store, data)
            damage(blob_path(root, data))
            with pytest.raises(DataLoss):
                is_stored(store, data)

            store_blob(store, data)
            assert is_stored(store, data)


def test_a_damaged_small_blob_that_is_put_again_is_sound(root: Path) -> None:
    with closing(LocalStore(root)) as store:
        store.put({digest_of(b"small"): b"small"})
        flip(blob_path(root, b"small"), 4)
        with pytest.raises(BlobCorrupt):
            is_stored(store, b"small")

        store.put({digest_of(b"small"): b"small"})
        assert is_stored(store, b"small")


@pytest.mark.parametrize("damage", [lambda path: flip(path, 7), Path.unlink], ids=["damaged", "lost"])
def test_what_is_found_damaged_is_known_after_a_restart(root: Path, damage: Callable[[Path], None]) -> None:
    data = content(2 * MIB)
    with closing(LocalStore(root)) as store:
        store_blob(store, data)
        damage(blob_path(root, data))
        assert not store.is_damaged(digest_of(data))
        with pytest.raises(DataLoss):
            is_stored(store, data)
    with closing(LocalStore(root)) as store:
        assert store.is_damaged(digest_of(data))
        store_blob(store, data)
        assert not store.is_damaged(digest_of(data))


def test_damage_of_bytes_that_were_replaced_meanwhile_is_not_noted(root: Path) -> None:
    data = content(3 * MIB)
    with closing(LocalStore(root)) as store:
        store_blob(store, data)
        flip(blob_path(root, data), 0)
        with store.open(digest_of(data), size_bytes=len(data)) as reader:
            store_blob(store, data)

            with pytest.raises(BlobCorrupt):
                reader.read(0, 1)

        assert not store.is_damaged(digest_of(data))
        assert is_stored(store, data)
    with closing(LocalStore(root)) as store:
        assert not store.is_damaged(digest_of(data))


def test_an_undamaged_partial_goes_on_where_it_was(root: Path) -> None:
    leave_partial(root)

    assert finish_partial(root) == ENDS[-1]


@pytest.mark.parametrize("records", range(len(ENDS) + 1))
@pytest.mark.parametrize("more_bytes", [0, 1, RECORD_BYTES - 1])
def test_marks_that_are_cut_take_an_upload_back_to_the_last_whole_one(
    root: Path, records: int, more_bytes: int
) -> None:
    """The first record is the header, without which no mark counts."""
    _, marks = leave_partial(root)
    os.truncate(marks, records * RECORD_BYTES + more_bytes)

    assert finish_partial(root) == [0, 0, *ENDS][records]


@pytest.mark.parametrize("place", [7, 11])
@pytest.mark.parametrize(
    ("record", "offset"), [(0, 0), (1, ENDS[4]), (2, ENDS[0]), (3, ENDS[4]), (4, ENDS[2]), (5, ENDS[3])]
)
def test_a_damaged_mark_takes_an_upload_back_to_one_that_holds(
    root: Path, record: int, offset: int, place: int
) -> None:
    """Marks 1 and 3 are not needed: the ones at the end of their blocks cover the same bytes."""
    _, marks = leave_partial(root)
    flip(marks, record * RECORD_BYTES + place)

    assert finish_partial(root) == offset


@pytest.mark.parametrize("seed", range(10))
def test_garbage_in_the_marks_never_gives_wrong_bytes(root: Path, seed: int) -> None:
    _, marks = leave_partial(root)
    random = Random(seed)  # noqa: S311 - damage, not a secret
    kept = marks.read_bytes()[: random.randrange(marks.stat().st_size)]
    marks.write_bytes(kept + random.randbytes(random.randrange(100)))

    assert finish_partial(root) in {0, *ENDS}


@pytest.mark.parametrize(
    ("damaged", "offset"),
    [
        (0, 0),
        (ENDS[0], ENDS[0]),
        (MIB - 1, ENDS[0]),
        (MIB, MIB),
        (MIB + 6, MIB),
        (MIB + 7, MIB + 7),
        (ENDS[4] - 1, 2 * MIB),
    ],
)
def test_a_flipped_bit_takes_an_upload_back_to_before_it(root: Path, damaged: int, offset: int) -> None:
    file, _ = leave_partial(root)
    flip(file, damaged)

    assert finish_partial(root) == offset


@pytest.mark.parametrize(
    ("length", "offset"),
    [(0, 0), (ENDS[0] - 1, 0), (MIB - 1, ENDS[0]), (MIB + 7, MIB + 7), (2 * MIB, 2 * MIB)],
)
def test_a_cut_file_takes_an_upload_back_to_the_last_mark_in_it(root: Path, length: int, offset: int) -> None:
    file, _ = leave_partial(root)
    os.truncate(file, length)
    with closing(LocalStore(root)) as store:
        assert store.held_bytes("key") <= length

    assert finish_partial(root) == offset


@pytest.mark.parametrize("stray_bytes", [1, 2 * PARTIAL_BYTES])
def test_bytes_behind_the_last_mark_are_not_trusted(root: Path, stray_bytes: int) -> None:
    file, _ = leave_partial(root)
    with file.open("ab") as appended:
        appended.write(bytes(stray_bytes))

    assert finish_partial(root) == ENDS[-1]


def test_an_upload_that_went_back_is_left_and_found_again_there(root: Path) -> None:
    file, _ = leave_partial(root)
    flip(file, MIB + 7)
    with (
        closing(LocalStore(root)) as store,
        closing(open_upload(store, "key", size_bytes=PARTIAL_BYTES)) as upload,
    ):
        assert upload.offset == MIB + 7

    with closing(LocalStore(root)) as store:
        assert store.held_bytes("key") == MIB + 7
    assert finish_partial(root) == MIB + 7


@pytest.mark.parametrize("name", ["key", "key.crc"])
def test_a_partial_that_lost_a_file_begins_anew(root: Path, name: str) -> None:
    leave_partial(root)
    (root / "uploads" / name).unlink()

    assert finish_partial(root) == 0


def test_files_that_no_upload_can_go_on_with_are_removed_at_the_start(root: Path) -> None:
    leave_partial(root)
    strays = ["lone", "other.crc", "key.sums", "key.crc.crc", "batch.1", "torn", "torn.crc"]
    for name in strays:
        (root / "uploads" / name).write_bytes(b"12345")

    with closing(LocalStore(root)) as store:
        assert sorted(path.name for path in (root / "uploads").iterdir()) == ["key", "key.crc"]
        assert store.held_bytes("key") == ENDS[-1]
