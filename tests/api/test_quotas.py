"""Quotas over the wire: refused before the bytes come where that can be seen, and never slipped past."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.calls import Refused, call
from tests.api.uploads import UploadStream, digest_of
from tests.servers import Running, running_server

NEVER_AGAIN = "-1"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """Run a server whose namespace `default` may hold 10 bytes and one version."""
    async with running_server(tmp_path / "data") as started:
        quota = {"size_bytes": 10, "versions_count": 1}
        await call(started.channel, "UpdateNamespace", {"namespace": {"name": "default", "quota": quota}})
        yield started


async def usage(running: Running) -> tuple[int, int]:
    found = (await call(running.channel, "GetNamespace", {"name": "default"})).namespace
    assert (found.quota.size_bytes, found.quota.versions_count) == (10, 1)
    return found.usage.size_bytes, found.usage.versions_count


async def stopped(stream: UploadStream) -> Refused:
    """Wait for the stop of a stream, and return its status."""
    while not (answer := await stream.answer()).stop.reason:
        pass
    assert answer.stop.reason == "QUOTA_EXCEEDED"
    await stream.half_close()
    refused = await stream.refusal()
    assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
    assert refused.metadata["grpc-retry-pushback-ms"] == NEVER_AGAIN
    return refused


async def send(stream: UploadStream, data: bytes) -> None:
    """Send a whole small blob."""
    header = {"namespace": "default", "digest": digest_of(data), "size_bytes": len(data), "from_start": True}
    await stream.send(header=header, data=data, finish={})


@pytest.mark.parametrize("named", [{"digest": digest_of(bytes(11))}, {"upload_id": "one"}])
async def test_a_header_for_too_many_bytes_stops_the_stream_before_they_come(
    running: Running, named: dict[str, str]
) -> None:
    stream = UploadStream(running.channel)
    await stream.begin(size_bytes=11, **named)

    refused = await stopped(stream)
    assert dict(refused.info.metadata) == {
        "namespace": "default",
        "quota": "size_bytes",
        "allowed": "10",
        "used": "0",
        "asked": "11",
        "index": "0",
    }
    assert "collect garbage" in refused.message


async def test_small_blobs_are_taken_as_long_as_they_fit(running: Running) -> None:
    stream = UploadStream(running.channel)
    for data in (b"1234", b"56"):
        await send(stream, data)
        assert (await stream.accepted()).finished.digest == digest_of(data)
    await send(stream, b"12345")

    assert (await stopped(stream)).info.metadata["used"] == "6"
    assert await usage(running) == (6, 0)
    again = UploadStream(running.channel)
    await send(again, b"1234")
    assert (await again.accepted()).already_present.digest == digest_of(b"1234")
    await send(again, b"7890")
    assert (await again.accepted()).finished.digest == digest_of(b"7890")


async def test_a_batch_that_does_not_fit_is_refused_when_it_is_recorded(running: Running) -> None:
    """Each of its blobs would fit alone."""
    stream = UploadStream(running.channel)
    for data in (b"123456", b"abcdef", b"ABCDEF"):
        await send(stream, data)

    await stopped(stream)
    assert (await usage(running))[0] in {0, 6}


async def test_of_two_uploads_whose_headers_were_taken_one_is_refused_at_its_end(running: Running) -> None:
    streams = {name: UploadStream(running.channel) for name in ("one", "two")}
    for name, stream in streams.items():
        await stream.begin(size_bytes=6, upload_id=name)
        assert (await stream.accepted()).ready.offset == 0
    for name, stream in streams.items():
        data = name.encode() * 2
        await stream.send(data=data, finish={"digest": digest_of(data)})

    async def ended(stream: UploadStream) -> str:
        try:
            return (await stream.accepted()).finished.digest
        except Refused as refused:
            return refused.reason

    found = await asyncio.gather(*(ended(stream) for stream in streams.values()))
    refused, stored = sorted(found)
    assert refused == "QUOTA_EXCEEDED"
    assert stored in {digest_of(b"oneone"), digest_of(b"twotwo")}
    assert await usage(running) == (6, 0)


async def test_a_version_too_many_is_refused_also_in_a_rehearsal(running: Running) -> None:
    stream = UploadStream(running.channel)
    await send(stream, b"1234")
    await stream.accepted()
    await call(running.channel, "CreateModel", {"name": "default/fraud"})
    file = {"path": "a", "digest": digest_of(b"1234"), "size_bytes": 4}

    def wish(seed: str) -> dict[str, Any]:
        content = {"files": [file], "parameters": [{"name": "seed", "text": seed}]}
        return {"model": "default/fraud", "content": content}

    await call(running.channel, "CreateVersion", wish("1"))
    for options in ({"validate_only": True}, {}):
        with pytest.raises(Refused) as refused:
            await call(running.channel, "CreateVersion", wish("2") | options)
        assert refused.value.reason == "QUOTA_EXCEEDED"
        assert refused.value.metadata["grpc-retry-pushback-ms"] == NEVER_AGAIN
    assert (await call(running.channel, "CreateVersion", wish("1"))).created is False
    assert await usage(running) == (4, 1)


async def test_what_is_missing_is_answered_with_the_room_for_it(running: Running) -> None:
    wish = {"namespace": "default", "blobs": [{"digest": digest_of(b"1234"), "size_bytes": 4}]}
    answer = await call(running.channel, "FindMissingBlobs", wish)
    assert (answer.available_bytes, answer.available_versions_count) == (10, 1)

    clear = {"namespace": {"name": "default"}, "update_mask": "quota"}
    changed = (await call(running.channel, "UpdateNamespace", clear)).namespace
    assert not changed.HasField("quota")
    answer = await call(running.channel, "FindMissingBlobs", wish)
    assert not answer.HasField("available_bytes")
    assert not answer.HasField("available_versions_count")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"quota": {"size_bytes": -1}}, "namespace.quota.size_bytes"),
        ({"quota": {"versions_count": -(2**63)}}, "namespace.quota.versions_count"),
    ],
)
async def test_a_bad_quota_is_refused(running: Running, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused) as refused:
        await call(running.channel, "UpdateNamespace", {"namespace": {"name": "default"} | fields})
    assert (refused.value.reason, refused.value.fields) == ("OUT_OF_BOUNDS", [field])


@pytest.mark.parametrize("quota", [{}, {"versions_count": 0}])
async def test_an_empty_quota_changes_nothing_unless_the_mask_names_it(
    running: Running, quota: dict[str, int]
) -> None:
    with pytest.raises(Refused) as refused:
        await call(running.channel, "UpdateNamespace", {"namespace": {"name": "default", "quota": quota}})
    assert refused.value.reason == "FIELD_MASK_INVALID"
    assert await usage(running) == (0, 0)
