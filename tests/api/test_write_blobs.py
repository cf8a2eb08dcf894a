"""The upload protocol over the wire: many blobs, resume, takeover, trouble, the namespace wall."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.api.calls import Refused, call, call_raw
from tests.api.uploads import UploadStream, digest_of, held_bytes, put, until_held
from tests.servers import Running, running_server

MIB = 1 << 20


async def read(running: Running, digest: str, size_bytes: int) -> bytes:
    """Read a blob back through a version that has it."""
    name = f"default/m{digest[7:19]}"
    await call(running.channel, "CreateModel", {"name": name})
    file = {"path": "f", "digest": digest, "size_bytes": size_bytes}
    await call(running.channel, "CreateVersion", {"model": name, "content": {"files": [file]}})
    messages = await call(running.channel, "ReadFile", {"version": {"model": name, "number": 1}, "path": "f"})
    return b"".join(message.data for message in messages)


async def test_many_blobs_in_turn_on_one_stream_are_all_stored(running: Running) -> None:
    blobs = [os.urandom(size) for size in (0, 1, 20_000, MIB, 3 * MIB + 17)]
    stream = UploadStream(running.channel)

    for index, data in enumerate(blobs):
        await stream.begin(size_bytes=len(data), digest=digest_of(data))
        ready = await stream.answer()
        assert (ready.index, ready.ready.offset) == (index, 0)
        for begin in range(0, len(data), MIB):
            await stream.send(data=data[begin : begin + MIB])
        await stream.send(finish={})
        finished = await stream.answer()
        assert (finished.index, finished.finished.digest) == (index, digest_of(data))
    await stream.half_close()

    for data in blobs:
        assert await read(running, digest_of(data), len(data)) == data


async def test_a_new_file_needs_one_pass_with_its_digest_last(running: Running) -> None:
    data = os.urandom(2 * MIB)
    stream = UploadStream(running.channel)
    await stream.begin(size_bytes=len(data), upload_id="run-7")
    assert (await stream.answer()).ready.offset == 0

    await stream.send(data=data[:MIB])
    await stream.send(data=data[MIB:], finish={"digest": digest_of(data)})

    assert (await stream.answer()).finished.size_bytes == len(data)
    await stream.half_close()
    assert await read(running, digest_of(data), len(data)) == data


@pytest.mark.parametrize("sent", [1, MIB - 1, MIB, MIB + 1, 2 * MIB + 12345])
async def test_a_broken_upload_goes_on_at_any_byte(running: Running, sent: int) -> None:
    data = os.urandom(3 * MIB)
    first = UploadStream(running.channel)
    await first.begin(size_bytes=len(data), digest=digest_of(data))
    await first.answer()
    for begin in range(0, sent, MIB):
        await first.send(data=data[begin : min(begin + MIB, sent)])
    await first.half_close()

    second = UploadStream(running.channel)
    await second.begin(size_bytes=len(data), digest=digest_of(data))
    offset = (await second.answer()).ready.offset
    for begin in range(offset, len(data), MIB):
        await second.send(data=data[begin : begin + MIB])
    await second.send(finish={})
    await second.answer()
    await second.half_close()

    assert offset == sent
    assert await read(running, digest_of(data), len(data)) == data


async def test_a_partial_upload_survives_the_server(tmp_path: Path) -> None:
    data = os.urandom(2 * MIB)
    async with running_server(tmp_path / "data") as running:
        stream = UploadStream(running.channel)
        await stream.begin(size_bytes=len(data), digest=digest_of(data))
        await stream.answer()
        await stream.send(data=data[:MIB])
        await stream.half_close()

    async with running_server(tmp_path / "data") as running:
        assert await held_bytes(running.channel, digest_of(data), len(data)) == MIB
        stream = UploadStream(running.channel)
        await stream.begin(size_bytes=len(data), digest=digest_of(data))
        assert (await stream.answer()).ready.offset == MIB
        await stream.send(data=data[MIB:], finish={})
        await stream.answer()
        await stream.half_close()
        assert await read(running, digest_of(data), len(data)) == data


async def test_a_newer_stream_takes_an_upload_over(running: Running) -> None:
    data = os.urandom(3 * MIB)
    older, newer = UploadStream(running.channel), UploadStream(running.channel)
    await older.begin(size_bytes=len(data), digest=digest_of(data))
    await older.answer()
    await older.send(data=data[:MIB])
    await until_written(older, running, data)

    await newer.begin(size_bytes=len(data), digest=digest_of(data))
    offset = (await newer.answer()).ready.offset
    await older.send(data=data[MIB : 2 * MIB])
    stop = await older.answer()
    await older.half_close()
    for begin in range(offset, len(data), MIB):
        await newer.send(data=data[begin : begin + MIB])
    await newer.send(finish={})
    await newer.answer()
    await newer.half_close()

    assert stop.stop.reason == "UPLOAD_SUPERSEDED"
    assert (await older.refusal()).code == "ABORTED"
    assert await read(running, digest_of(data), len(data)) == data


async def until_written(stream: UploadStream, running: Running, data: bytes) -> None:
    """Wait until the server has taken the first bytes of *data*, durable or not."""
    async with asyncio.timeout(10):
        while not any((running.server.config.data_dir / "blobs" / "uploads").iterdir()):
            await asyncio.sleep(0.01)


async def test_a_blob_that_is_held_is_not_sent_again(running: Running) -> None:
    data = b"held"
    await put(running.channel, data)
    stream = UploadStream(running.channel, actor="another caller")

    await stream.begin(size_bytes=len(data), digest=digest_of(data))
    answer = await stream.answer()
    await stream.begin(size_bytes=3, digest=digest_of(b"new"), from_start=True)
    await stream.send(data=b"new", finish={})
    follows = await stream.answer()
    await stream.half_close()

    assert answer.already_present.digest == digest_of(data)
    assert (follows.index, follows.finished.size_bytes) == (1, 3)


async def test_bytes_that_come_for_a_held_blob_are_dropped(running: Running) -> None:
    data = b"held"
    await put(running.channel, data)

    assert await put(running.channel, data) == digest_of(data)


async def test_the_same_blob_uploaded_at_once_by_many_is_stored_once(running: Running) -> None:
    data = os.urandom(MIB)

    digests = await asyncio.gather(*(put(running.channel, data, actor=f"caller {n}") for n in range(10)))

    assert set(digests) == {digest_of(data)}
    stored = [
        path for path in (running.server.config.data_dir / "blobs" / "sha256").rglob("*") if path.is_file()
    ]
    assert sum(path.suffix == "" for path in stored) == 1


async def test_a_namespace_sees_no_blob_of_another_one(running: Running) -> None:
    data = b"secret weights"
    await call(running.channel, "CreateNamespace", {"name": "other"})
    await put(running.channel, data)

    assert await held_bytes(running.channel, digest_of(data), len(data), namespace="other") == 0
    fields = {"namespace": "other", "sizes_bytes": [len(data)]}
    assert not (await call(running.channel, "FindMissingBlobs", fields)).held_sizes_bytes

    await put(running.channel, data, namespace="other")
    assert await held_bytes(running.channel, digest_of(data), len(data), namespace="other") is None


async def test_a_partial_upload_belongs_to_its_caller(running: Running) -> None:
    data = os.urandom(2 * MIB)
    stream = UploadStream(running.channel, actor="ada")
    await stream.begin(size_bytes=len(data), digest=digest_of(data))
    await stream.answer()
    await stream.send(data=data[:MIB])
    await stream.half_close()

    assert await until_held(running.channel, digest_of(data), len(data), at_least=MIB) == MIB
    assert await held_bytes(running.channel, digest_of(data), len(data), actor="bob") == 0


FIRST = {"namespace": "default", "size_bytes": 5, "digest": digest_of(b"first"), "from_start": True}
ELSEWHERE = FIRST | {"namespace": "other"}
TROUBLE = [
    ("data before a header", [{"data": b"x"}], "INVALID_ARGUMENT", "UPLOAD_HEADER_REQUIRED"),
    ("finish before a header", [{"finish": {}}], "INVALID_ARGUMENT", "UPLOAD_HEADER_REQUIRED"),
    ("header twice", [{"header": 5}, {"header": 5}], "INVALID_ARGUMENT", "UPLOAD_HEADER_DUPLICATE"),
    ("too large a chunk", [{"header": 5}, {"data": b"x" * (MIB + 1)}], "INVALID_ARGUMENT", "CHUNK_TOO_LARGE"),
    ("more bytes than declared", [{"header": 5}, {"data": b"123456"}], "INVALID_ARGUMENT", "SIZE_MISMATCH"),
    ("fewer bytes than declared", [{"header": 5, "data": b"1234", "finish": {}}], "FAILED_PRECONDITION",
     "UPLOAD_INCOMPLETE"),
    ("other bytes than declared", [{"header": 5, "data": b"wrong", "finish": {}}], "INVALID_ARGUMENT",
     "DIGEST_MISMATCH"),
    ("two digests", [{"header": 5, "data": b"right", "finish": {"digest": digest_of(b"x")}}],
     "INVALID_ARGUMENT", "DIGEST_MISMATCH"),
    ("a message with nothing", [{}], "INVALID_ARGUMENT", "FIELD_REQUIRED"),
    ("a message with nothing in a blob", [{"header": 5}, {}], "INVALID_ARGUMENT", "FIELD_REQUIRED"),
    ("another namespace", [{"header": FIRST, "data": b"first", "finish": {}}, {"header": ELSEWHERE}],
     "INVALID_ARGUMENT", "RESOURCE_MISMATCH"),
    ("bad digest", [{"header": {"namespace": "default", "digest": "sha256:x"}}], "INVALID_ARGUMENT",
     "DIGEST_INVALID"),
    ("bad upload id", [{"header": {"namespace": "default", "upload_id": "../x"}}], "INVALID_ARGUMENT",
     "INVALID_NAME"),
    ("neither digest nor id", [{"header": {"namespace": "default"}}], "INVALID_ARGUMENT", "ONEOF_REQUIRED"),
    ("negative size", [{"header": {"namespace": "default", "size_bytes": -1, "upload_id": "x"}}],
     "INVALID_ARGUMENT", "OUT_OF_BOUNDS"),
    ("above 64 TiB", [{"header": {"namespace": "default", "size_bytes": 1 << 60, "upload_id": "x"}}],
     "INVALID_ARGUMENT", "OUT_OF_BOUNDS"),
    ("unknown namespace", [{"header": {"namespace": "nowhere", "size_bytes": 1, "digest": digest_of(b"r")}}],
     "NOT_FOUND", "NAMESPACE_NOT_FOUND"),
    ("unknown namespace, id", [{"header": {"namespace": "nowhere", "size_bytes": 1, "upload_id": "x"}}],
     "NOT_FOUND", "NAMESPACE_NOT_FOUND"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("messages", "code", "reason"), [row[1:] for row in TROUBLE], ids=[row[0] for row in TROUBLE]
)
async def test_trouble_is_announced_before_the_status_and_nothing_is_held(
    running: Running, messages: list[dict[str, object]], code: str, reason: str
) -> None:
    right = {"namespace": "default", "size_bytes": 5, "digest": digest_of(b"right"), "from_start": True}
    stream = UploadStream(running.channel)

    for message in messages:
        await stream.send(**{key: right if value == 5 else value for key, value in message.items()})
    while not (answer := await stream.answer()).stop.reason:
        assert answer.HasField("finished")
    await stream.half_close()
    refused = await stream.refusal()

    assert (answer.stop.reason, refused.code, refused.reason) == (reason, code, reason)
    assert await held_bytes(running.channel, digest_of(b"right"), 5) is not None


@pytest.mark.parametrize("message", [b"", b"\x12\x00", b"\x98\x06\x01"], ids=["empty", "no data", "unknown"])
async def test_a_message_that_brings_nothing_does_not_keep_a_stream_alive(
    running: Running, message: bytes
) -> None:
    with pytest.raises(Refused) as refused:
        await call_raw(running.channel, "WriteBlobs", message)

    assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", "FIELD_REQUIRED")


async def test_a_finish_that_comes_too_early_costs_no_bytes(running: Running) -> None:
    data = os.urandom(2 * MIB)
    stream = UploadStream(running.channel)
    await stream.begin(size_bytes=len(data), digest=digest_of(data))
    await stream.answer()
    await stream.send(data=data[:MIB], finish={})
    assert (await stream.answer()).stop.reason == "UPLOAD_INCOMPLETE"
    await stream.half_close()

    again = UploadStream(running.channel)
    await again.begin(size_bytes=len(data), digest=digest_of(data))
    assert (await again.answer()).ready.offset == MIB
    await again.send(data=data[MIB:], finish={})
    assert (await again.answer()).finished.digest == digest_of(data)
    await again.half_close()


async def test_a_wrong_digest_deletes_what_was_uploaded(running: Running) -> None:
    stream = UploadStream(running.channel)
    await stream.begin(size_bytes=5, digest=digest_of(b"right"))
    await stream.answer()
    await stream.send(data=b"wrong", finish={})
    await stream.answer()
    await stream.half_close()

    assert await held_bytes(running.channel, digest_of(b"right"), 5) == 0


async def test_a_client_that_goes_on_writing_after_a_stop_still_gets_the_status(running: Running) -> None:
    stream = UploadStream(running.channel)
    await stream.begin(size_bytes=64 * MIB, upload_id="x", from_start=True)
    await stream.send(finish={"digest": "wrong"})

    for _ in range(20):
        await stream.send(data=b"x" * 500_000)
    answer = await stream.answer()
    await stream.half_close()

    assert answer.stop.reason == "DIGEST_INVALID"
    assert (await stream.refusal()).reason == "DIGEST_INVALID"


async def test_all_streams_taken_leave_room_for_metadata_calls(tmp_path: Path) -> None:
    async with running_server(tmp_path / "data", streams_maximum=2) as running:
        streams = [UploadStream(running.channel, actor=f"caller {n}") for n in range(2)]
        for stream in streams:
            await stream.begin(size_bytes=MIB, upload_id="x")
            await stream.answer()

        one_more = UploadStream(running.channel)
        await one_more.begin(size_bytes=1, upload_id="x")
        with pytest.raises(Refused) as refused:
            await one_more.accepted()
        info = await call(running.channel, "GetServerInfo")
        for stream in streams:
            await stream.half_close()

    assert refused.value.reason == "OVERLOADED"
    assert info.registry_uid
