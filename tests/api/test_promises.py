"""The promises of the registry over the wire: nothing half, nothing lost, nothing twice, nothing damaged."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import os
import struct
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from sqlalchemy import text

from steelyard.v1 import content_pb2, version_pb2, version_service_pb2, version_service_pb2_grpc
from steelyard.v1.blob_service_pb2 import BlobFinish, BlobHeader, WriteBlobsRequest
from steelyard.v1.version_service_pb2 import GetManifestResponse
from steelyard_server.db.database import Transaction
from tests.api.calls import Refused, call, call_raw
from tests.api.uploads import digest_of, put
from tests.servers import Running, ServerProcess

FRAUD = "default/fraud"
DATA = b"weights"
MIB = 1 << 20
FILES = [f"part-{index}.bin" for index in range(6)]
METRICS = [f"metric {index}" for index in range(6)]


def request(seed: int, **fields: Any) -> dict[str, Any]:
    """Make a CreateVersion request whose content differs for each *seed* and has several parts."""
    digest = digest_of(DATA)
    content = {
        "files": [{"path": path, "digest": digest, "sizeBytes": len(DATA)} for path in FILES],
        "parameters": [{"name": "seed", "integer": seed}],
        "metrics": [{"name": name, "value": seed} for name in METRICS],
    }
    return {"model": FRAUD, "content": content} | fields


def version(number: int) -> dict[str, Any]:
    return {"version": {"model": FRAUD, "number": number}}


async def found(channel: grpc.aio.Channel) -> None:
    """Make a model without versions, and a blob."""
    await call(channel, "CreateModel", {"name": FRAUD})
    await put(channel, DATA)


async def manifest_of(channel: grpc.aio.Channel, reference: dict[str, Any]) -> GetManifestResponse:
    answer: GetManifestResponse = await call(channel, "GetManifest", reference)
    assert answer.digest == digest_of(answer.manifest)
    return answer


async def read(
    channel: grpc.aio.Channel, number: int, path: str, **range_: int
) -> tuple[bytes, grpc.StatusCode, str]:
    """Read a file to its end or to the error that ends it; return what came, the status and its details."""
    stub = version_service_pb2_grpc.VersionServiceStub(channel)
    reference = version_pb2.VersionRef(model=FRAUD, number=number)
    stream = stub.ReadFile(
        version_service_pb2.ReadFileRequest(version=reference, path=path, **range_), timeout=20
    )
    came = bytearray()
    try:
        async for message in stream:
            came += message.data
    except grpc.aio.AioRpcError as error:
        return bytes(came), error.code(), Refused(error).reason
    return bytes(came), grpc.StatusCode.OK, ""


async def watch(channel: grpc.aio.Channel, ended: asyncio.Event, seen: dict[int, bytes]) -> int:
    """Poll the newest version, demand that it is whole, and that what was seen before is still the same."""
    polls = 0
    newest = {"version": {"model": FRAUD, "alias": "latest"}}
    while not ended.is_set():
        polls += 1
        listed = (await call(channel, "ListVersions", {"model": FRAUD, "orderBy": "number desc"})).versions
        if not listed:
            continue
        got = (await call(channel, "GetVersion", newest)).version
        assert got.number >= listed[0].number
        for each in (got, *listed):
            assert [metric.name for metric in each.content.metrics] == METRICS
            assert (each.file_count, each.size_bytes) == (len(FILES), len(FILES) * len(DATA))
        assert [file.path for file in got.content.files] == FILES
        manifest = await manifest_of(channel, version(got.number))
        assert manifest.digest == got.digest
        assert seen.setdefault(got.number, manifest.manifest) == manifest.manifest
        assert len((await call(channel, "ListFiles", version(got.number))).files) == len(FILES)
    return polls


async def test_promise_1_readers_never_see_a_part_of_a_version(running: Running) -> None:
    await found(running.channel)
    ended = asyncio.Event()
    seen: dict[int, bytes] = {}
    watchers = [asyncio.create_task(watch(running.channel, ended, seen)) for _ in range(3)]
    try:
        for begin in range(0, 40, 4):
            wishes = (call(running.channel, "CreateVersion", request(begin + add)) for add in range(4))
            await asyncio.gather(*wishes)
    finally:
        ended.set()
        polls = await asyncio.gather(*watchers)

    assert min(polls) > 1
    for number, manifest in seen.items():
        assert (await manifest_of(running.channel, version(number))).manifest == manifest


async def test_promise_1_what_is_refused_is_not_there_at_all(running: Running) -> None:
    await found(running.channel)
    broken = request(1)
    broken["content"]["files"].append({"path": "z.bin", "digest": "sha256:" + "e" * 64, "sizeBytes": 1})
    with pytest.raises(Refused) as refused:
        await call(running.channel, "CreateVersion", broken)
    with pytest.raises(Refused) as absent:
        await call(running.channel, "GetVersion", version(1))

    assert refused.value.reason == "BLOB_MISSING"
    assert absent.value.reason == "VERSION_NOT_FOUND"
    assert (await call(running.channel, "CreateVersion", request(1))).version.number == 1


async def test_promise_1_content_never_changes_and_its_digest_proves_it(running: Running) -> None:
    channel = running.channel
    await found(channel)
    created = (await call(channel, "CreateVersion", request(1))).version
    before = await manifest_of(channel, version(1))
    for mask in ("content", "digest", "number"):
        with pytest.raises(Refused) as refused:
            await call(channel, "UpdateVersion", version(1) | {"updateMask": mask})
        assert refused.value.reason == "IMMUTABLE_FIELD"
    await call(channel, "UpdateVersion", version(1) | {"description": "new", "labels": {"a": "b"}})
    await call(channel, "SetAlias", version(1) | {"alias": "champion"})
    await call(channel, "RenameModel", {"name": FRAUD, "newName": "default/risk"})
    after = await manifest_of(channel, version(1))
    got = (await call(channel, "GetVersion", version(1))).version

    assert after.manifest == before.manifest
    assert got.digest == created.digest == digest_of(before.manifest)
    assert got.content == created.content
    assert [file["path"] for file in json.loads(before.manifest)["files"]] == FILES


@asynccontextmanager
async def channel_to(child: ServerProcess) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(child.address, options=options) as channel:
        await asyncio.wait_for(channel.channel_ready(), timeout=20)
        yield channel


async def test_promise_3_what_was_acknowledged_is_there_after_a_kill(child: ServerProcess) -> None:
    async with channel_to(child) as channel:
        await found(channel)
    created = []
    for seed in range(3):
        async with channel_to(child) as channel:
            data = DATA * (seed + 2)
            wish = request(seed)
            wish["content"]["files"].append(
                {"path": "x.bin", "digest": await put(channel, data), "sizeBytes": len(data)}
            )
            created.append((await call(channel, "CreateVersion", wish)).version)
            child.kill()
        child.start()
    async with channel_to(child) as channel:
        for seed, expected in enumerate(created):
            got = (await call(channel, "GetVersion", version(expected.number))).version
            came, code, _ = await read(channel, expected.number, "x.bin")
            assert (got, came, code) == (expected, DATA * (seed + 2), grpc.StatusCode.OK)
            assert got.number == seed + 1


async def test_promise_3_every_commit_is_synced_to_the_disk(running: Running) -> None:
    def settings(tx: Transaction) -> list[Any]:
        rows = [tx.one(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous")]
        return [row and row[0] for row in rows]

    full = 2
    assert await running.server.database.write(settings) == ["wal", full]


async def test_promise_3_bytes_and_names_of_a_blob_are_synced_before_it_is_acknowledged(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watches the system calls, for only a power cut could show the loss."""
    synced: list[Path] = []

    def spied(real: Callable[[int], None]) -> Callable[[int], None]:
        def spy(file: int) -> None:
            real(file)
            synced.append(Path(f"/proc/self/fd/{file}").readlink())

        return spy

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, spied(getattr(os, name)))
    digest = await put(running.channel, os.urandom(3000))

    folder = running.server.config.data_dir / "blobs" / "sha256" / digest[7:9] / digest[9:11]
    assert {folder, folder.parent, folder.parent.parent} <= set(synced)
    assert any(path.parent.name == "uploads" for path in synced)


async def test_promise_5_a_hundred_calls_with_one_request_id_happen_once(running: Running) -> None:
    channel = running.channel
    await found(channel)
    wish = request(1, requestId=str(uuid.uuid4()), labels={"a": "1", "b": "2"})
    answers = await asyncio.gather(*(call(channel, "CreateVersion", wish) for _ in range(100)))
    before = (await call(channel, "GetModel", {"name": FRAUD})).sequence
    late = await call(channel, "CreateVersion", wish)
    with pytest.raises(Refused) as refused:
        await call(channel, "CreateVersion", wish | {"description": "another"})
    after = await call(channel, "GetModel", {"name": FRAUD})

    assert answers[0].created
    assert all(answer == answers[0] for answer in (*answers, late))
    assert refused.value.reason == "REQUEST_ID_REUSED"
    assert before == after.sequence == answers[0].sequence
    assert after.model.latest_number == 1


async def test_promise_5_a_hundred_updates_with_one_request_id_are_one_event(running: Running) -> None:
    channel = running.channel
    await found(channel)
    begin = (await call(channel, "GetModel", {"name": FRAUD})).sequence
    wish = {"model": {"name": FRAUD, "description": "x"}, "requestId": str(uuid.uuid4()), "reason": "why"}
    answers = await asyncio.gather(*(call(channel, "UpdateModel", wish) for _ in range(100)))

    assert all(answer == answers[0] for answer in answers)
    assert (await call(channel, "GetModel", {"name": FRAUD})).sequence == begin + 1


def blob_path(running: Running, digest: str) -> Path:
    (path,) = running.server.config.data_dir.rglob(digest.removeprefix("sha256:"))
    return path


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


async def create_one(channel: grpc.aio.Channel, data: bytes) -> str:
    """Make a version whose one file is *data*; return the digest of the blob."""
    await call(channel, "CreateModel", {"name": FRAUD})
    digest = digest_of(data)
    await upload(channel, data)
    file = {"path": "a.bin", "digest": digest, "sizeBytes": len(data)}
    await call(channel, "CreateVersion", {"model": FRAUD, "content": {"files": [file]}})
    return digest


async def upload(channel: grpc.aio.Channel, data: bytes) -> None:
    """Upload *data* in chunks of 1 MiB."""
    header = BlobHeader(namespace="default", size_bytes=len(data), digest=digest_of(data), from_start=True)
    parts = [WriteBlobsRequest(data=data[at : at + MIB]) for at in range(0, len(data), MIB)]
    parts = [WriteBlobsRequest(header=header), *parts, WriteBlobsRequest(finish=BlobFinish())]
    answers = await call_raw(channel, "WriteBlobs", *(part.SerializeToString() for part in parts))
    assert answers[-1].finished.digest == header.digest


@pytest.mark.parametrize("damaged_block", [0, 1, 3])
async def test_promise_10_a_damaged_byte_is_never_sent(running: Running, damaged_block: int) -> None:
    data = os.urandom(3 * MIB + 12_345)
    digest = await create_one(running.channel, data)
    whole, code, _ = await read(running.channel, 1, "a.bin")
    assert (whole, code) == (data, grpc.StatusCode.OK)

    flip(blob_path(running, digest), damaged_block * MIB + 777)
    came, code, reason = await read(running.channel, 1, "a.bin")
    assert (code, reason) == (grpc.StatusCode.DATA_LOSS, "BLOB_CORRUPT")
    assert len(came) <= damaged_block * MIB
    assert came == data[: len(came)]

    # What is sound can still be read.
    begin = 0 if damaged_block else MIB
    came, code, _ = await read(running.channel, 1, "a.bin", offset=begin, length=1000)
    assert (came, code) == (data[begin : begin + 1000], grpc.StatusCode.OK)


@pytest.mark.parametrize("size_bytes", [1, 1000, MIB])
async def test_promise_10_a_damaged_blob_of_one_block_is_not_sent_either(
    running: Running, size_bytes: int
) -> None:
    data = os.urandom(size_bytes)
    digest = await create_one(running.channel, data)
    flip(blob_path(running, digest), size_bytes - 1)
    assert await read(running.channel, 1, "a.bin") == (b"", grpc.StatusCode.DATA_LOSS, "BLOB_CORRUPT")


async def test_promise_10_lost_bytes_are_data_loss(running: Running) -> None:
    data = os.urandom(100_000)
    digest = await create_one(running.channel, data)
    path = blob_path(running, digest)
    os.truncate(path, 99_999)
    cut = await read(running.channel, 1, "a.bin")
    path.unlink()
    gone = await read(running.channel, 1, "a.bin")

    assert cut == gone == (b"", grpc.StatusCode.DATA_LOSS, "BLOB_LOST")


async def test_the_wall_a_blob_of_another_namespace_can_neither_be_seen_nor_used(running: Running) -> None:
    channel = running.channel
    await found(channel)
    await call(channel, "CreateNamespace", {"name": "other"})
    secret = b"only in the other namespace"
    digest = await put(channel, secret, namespace="other")
    nowhere = "sha256:" + "e" * 64

    async def ask(name: str, namespace: str) -> Any:
        blobs = [{"digest": name, "sizeBytes": len(secret)}]
        fields = {"namespace": namespace, "blobs": blobs, "sizesBytes": [len(secret)]}
        return await call(channel, "FindMissingBlobs", fields)

    async def use(name: str) -> Refused:
        file = {"path": "a.bin", "digest": name, "sizeBytes": len(secret)}
        with pytest.raises(Refused) as refused:
            await call(channel, "CreateVersion", {"model": FRAUD, "content": {"files": [file]}})
        return refused.value

    assert not (await ask(digest, "other")).missing
    answers = [await ask(name, "default") for name in (digest, nowhere)]
    assert [[each.digest for each in answer.missing] for answer in answers] == [[digest], [nowhere]]
    assert all(not answer.held_sizes_bytes for answer in answers)
    refusals = [await use(name) for name in (digest, nowhere)]
    assert [refusal.reason for refusal in refusals] == ["BLOB_MISSING", "BLOB_MISSING"]
    # Apart from the digest asked for, nothing tells the blob of a neighbour from none.
    assert refusals[0].message.replace(digest, "") == refusals[1].message.replace(nowhere, "")
    # Only who has the bytes gets in: once they are uploaded here, they are held here.
    await put(channel, secret)
    assert not (await ask(digest, "default")).missing


DOUBLES = [
    *(0.0, -0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -1.7976931348623157e308),
    *(math.nan, math.inf, -math.inf, 0.1, 1 / 3, 2.0**53, 1e21, 1e-7),
]
INTEGERS = [-(2**63), -(2**53) - 1, -1, 0, 1, 2**53 + 1, 2**63 - 1]
TEXTS = [
    *("", " ", "e\u0301", "é", "🦉\U0010ffff", "\u202e\ufeff\ufffe", "日本語", "'; DROP TABLE x; --"),
    '"\\/\t\r\n',
]


async def test_values_come_back_as_they_went_in(running: Running) -> None:
    channel = running.channel
    await found(channel)
    count = itertools.count()
    content = content_pb2.Content(
        files=[content_pb2.File(path="a", digest=digest_of(DATA), size_bytes=len(DATA))],
        metrics=[content_pb2.Metric(name=f"m{next(count):02}", value=value) for value in DOUBLES],
        parameters=[
            *(content_pb2.Parameter(name=f"p{next(count):02}", real=value) for value in DOUBLES),
            *(content_pb2.Parameter(name=f"p{next(count):02}", integer=value) for value in INTEGERS),
            *(content_pb2.Parameter(name=f"p{next(count):02}", text=value) for value in TEXTS),
            *(content_pb2.Parameter(name=f"p{next(count):02}", boolean=value) for value in (True, False)),
        ],
    )
    wish = version_service_pb2.CreateVersionRequest(model=FRAUD, content=content, description=TEXTS[-1])
    wish.labels.update({f"key {index}": value for index, value in enumerate(TEXTS[:-1])})
    await call_raw(channel, "CreateVersion", wish.SerializeToString())
    got = (await call(channel, "GetVersion", version(1))).version

    bits = [struct.pack(">d", metric.value) for metric in got.content.metrics]
    assert bits == [struct.pack(">d", value) for value in DOUBLES]
    sent = {each.name: each.SerializeToString() for each in content.parameters}
    assert {each.name: each.SerializeToString() for each in got.content.parameters} == sent
    assert (got.description, dict(got.labels)) == (wish.description, dict(wish.labels))


@pytest.mark.parametrize(
    ("rpc", "fields"),
    [
        ("ListAliasMoves", {"model": FRAUD}),
        ("SetAlias", version(1) | {"alias": "champion"}),
    ],
)
async def test_promise_12_the_unexpected_is_an_incident_that_only_the_log_explains(
    running: Running, rpc: str, fields: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A table disappears, which no code expects."""
    await found(running.channel)
    await call(running.channel, "CreateVersion", request(1))
    await running.server.database.write(lambda tx: tx.run(text("DROP TABLE alias_moves"), {}))
    with pytest.raises(Refused) as refused:
        await call(running.channel, rpc, fields)

    incident = refused.value.info.metadata["incident"]
    assert (refused.value.code, refused.value.reason) == ("INTERNAL", "INTERNAL")
    for word in ("alias_moves", "Error", "sqlite", ".py", "Traceback"):
        assert word not in refused.value.message
    logged = "".join(capsys.readouterr())
    assert incident in logged
    assert "no such table: alias_moves" in logged
    # The server goes on.
    assert (await call(running.channel, "GetVersion", version(1))).version.number == 1
