"""Watchers get every event behind their cursor once and in order, however slow they are, on both."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from steelyard_server.api import feeds
from steelyard_server.core import namespaces
from steelyard_server.db.database import Database
from tests.api.calls import Refused, call
from tests.api.uploads import UploadStream
from tests.api.watches import SECONDS, Watch
from tests.contracts.registry import act
from tests.servers import Running, running_server

WRITERS, CHANGES = 5, 12
Open = Callable[..., Awaitable[Database]]


@pytest.fixture
async def served(location: str | Path, tmp_path: Path) -> AsyncIterator[Running]:
    """Run a server on a database of each kind."""
    settings = {"database": location} if isinstance(location, str) else {}
    async with running_server(tmp_path / "data", **settings) as running:
        yield running


async def head(running: Running) -> int:
    return int((await call(running.channel, "GetServerInfo")).sequence)


async def listed(running: Running, **fields: Any) -> list[int]:
    """Return the sequences of all events of a query."""
    found: list[int] = []
    token = ""
    while True:
        request = fields | {"pageSize": 1000, "pageToken": token}
        page = await call(running.channel, "ListEvents", request)
        found += [event.sequence for event in page.events]
        token = page.next_page_token
        if not token:
            return found


async def done(running: Running, rpc: str, request: dict[str, Any], **options: Any) -> None:
    """Change something, again and again as long as it collides with others in PostgreSQL."""
    while True:
        try:
            await call(running.channel, rpc, request, **options)
        except Refused as refused:
            if refused.reason != "CONFLICT":
                raise
        else:
            return


async def change(running: Running, name: str, *, description: str = "") -> None:
    request = {"model": {"name": name, "description": description}, "updateMask": "description"}
    await done(running, "UpdateModel", request)


async def write(running: Running, writer: int) -> None:
    """Make a model of one's own and change it again and again."""
    metadata = (("steelyard-actor", f"writer-{writer}"),)
    name = f"default/m{writer}"
    await done(running, "CreateModel", {"name": name}, metadata=metadata)
    for each in range(CHANGES):
        await change(running, name, description=f"{each}")


QUERIES = (
    {"scope": "", "filter": ""},
    {"scope": "default", "filter": 'action = "model.*"'},
    {"scope": "default/m0", "filter": ""},
    {"scope": "", "filter": "actor = writer-1 OR action = namespace.create"},
)


async def test_every_watcher_gets_all_events_of_concurrent_writers_once_and_in_order(served: Running) -> None:
    await write(served, 0)
    begin = await head(served)
    begins = (0, 1, begin - 3, begin)
    watches = [
        (query, after, Watch(served.channel, after_sequence=after, heartbeat_seconds=1, **query))
        for query, after in itertools.product(QUERIES, begins)
    ]
    await asyncio.gather(*(write(served, each) for each in range(1, WRITERS)))
    end = await head(served)
    late = [
        (query, 2, Watch(served.channel, after_sequence=2, heartbeat_seconds=1, **query)) for query in QUERIES
    ]

    got = await asyncio.gather(*(watch.until(end) for _, _, watch in [*watches, *late]))

    expected = {str(query): await listed(served, **query) for query in QUERIES}
    assert [len(each) > 5 for each in expected.values()] == [True, True, True, False]
    for (query, after, _), sequences in zip([*watches, *late], got, strict=True):
        assert sequences == [each for each in expected[str(query)] if each > after], (query, after)


async def test_a_watch_begins_now_unless_it_says_where_and_says_where_it_is(served: Running) -> None:
    info = await call(served.channel, "GetServerInfo")
    watch = Watch(served.channel, heartbeat_seconds=1)
    first = await watch.read()
    assert (first.HasField("event"), first.sequence, first.epoch) == (False, info.sequence, info.epoch)
    await call(served.channel, "CreateModel", {"name": "default/new"})
    found = await watch.read()
    assert (found.event.action, found.sequence, found.epoch) == ("model.create", info.sequence + 1, "")
    beat = await watch.read()
    assert (beat.HasField("event"), beat.sequence, beat.epoch) == (False, info.sequence + 1, info.epoch)


async def test_a_heartbeat_tells_how_far_a_filter_has_looked(served: Running) -> None:
    watch = Watch(served.channel, filter="action = version.fly", after_sequence=0, heartbeat_seconds=1)
    assert (await watch.read()).sequence == 0
    await call(served.channel, "CreateModel", {"name": "default/new"})
    assert await watch.until(await head(served)) == []


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"after_sequence": 1 << 40}, "OUT_OF_RANGE", "SEQUENCE_IN_FUTURE"),
        ({"after_sequence": -1}, "INVALID_ARGUMENT", "OUT_OF_BOUNDS"),
        ({"after_sequence": 1 << 40, "epoch": "old"}, "FAILED_PRECONDITION", "HISTORY_REPLACED"),
        ({"epoch": "old"}, "FAILED_PRECONDITION", "HISTORY_REPLACED"),
        ({"filter": "actr = ada"}, "INVALID_ARGUMENT", "FILTER_INVALID"),
        ({"scope": "nowhere"}, "NOT_FOUND", "NAMESPACE_NOT_FOUND"),
        ({"scope": "default/none"}, "NOT_FOUND", "MODEL_NOT_FOUND"),
        ({"heartbeat_seconds": -1}, "INVALID_ARGUMENT", "OUT_OF_BOUNDS"),
        ({"heartbeat_seconds": 301}, "INVALID_ARGUMENT", "OUT_OF_BOUNDS"),
    ],
)
async def test_a_watch_that_cannot_be_is_refused(
    running: Running, fields: dict[str, Any], code: str, reason: str
) -> None:
    with pytest.raises(Refused) as refused:
        await Watch(running.channel, **fields).read()
    assert (refused.value.code, refused.value.reason) == (code, reason)


async def test_a_watcher_that_does_not_read_is_not_kept_in_memory_and_misses_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does not take stays in the database: its feed keeps few events, whatever comes."""
    monkeypatch.setattr(feeds, "RING_EVENTS", 4)
    await call(running.channel, "CreateModel", {"name": "default/m0"})
    begin = await head(running)
    slow = [Watch(running.channel, after_sequence=begin) for _ in range(3)]
    for watch in slow:
        await watch.read()
    quick = Watch(running.channel, after_sequence=begin)
    for each in range(60):
        await change(running, "default/m0", description=f"{each} " + 60_000 * "a")
    end = await head(running)
    assert await quick.until(end) == list(range(begin + 1, end + 1))
    (feed,) = running.server._feeds._feeds.values()
    assert (feed.watchers, len(feed)) == (4, 4)
    assert feed.begin == end - 4
    for watch in slow:
        assert await watch.until(end) == list(range(begin + 1, end + 1))


async def test_feeds_share_what_they_may_keep_and_go_with_their_last_watcher(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "RINGS_BYTES", 200_000)
    await call(running.channel, "CreateModel", {"name": "default/m0"})
    begin = await head(running)
    watches = [Watch(running.channel, filter=f"sequence > {each}") for each in (0, 1)]
    for watch in watches:
        await watch.read()
    for _ in range(10):
        await change(running, "default/m0", description=f"{_} " + 40_000 * "a")
    end = await head(running)
    for watch in watches:
        assert len(await watch.until(end)) == end - begin
    kept = running.server._feeds._feeds
    assert [len(feed) for feed in kept.values()] == [2, 2]
    third = Watch(running.channel)
    await third.read()
    assert [len(feed) for feed in kept.values()] == [1, 1, 0]
    for watch in (*watches, third):
        watch.cancel()
    async with asyncio.timeout(SECONDS):
        while kept:
            await call(running.channel, "GetServerInfo")
    assert not running.server._feeds._pumps


async def test_a_thousand_watch_at_once_and_leave_room_for_uploads(running: Running) -> None:
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(running.address, options=options) for _ in range(4)]
    watches = [Watch(channel) for channel in channels for _ in range(250)]
    begin = await head(running)
    assert {message.sequence for message in await asyncio.gather(*(watch.read() for watch in watches))} == {
        begin
    }

    await call(running.channel, "CreateModel", {"name": "default/new"})
    found = await asyncio.gather(*(watch.read() for watch in watches))

    assert {message.event.action for message in found} == {"model.create"}
    upload = UploadStream(running.channel)
    await upload.begin(size_bytes=2, upload_id="beside")
    assert (await upload.answer()).ready.offset == 0
    for channel in channels:
        await channel.close()


async def test_watchers_have_places_of_their_own(tmp_path: Path) -> None:
    async with running_server(tmp_path / "data", watches_maximum=2, streams_maximum=1) as running:
        watches = [Watch(running.channel) for _ in range(2)]
        for watch in watches:
            await watch.read()
        with pytest.raises(Refused) as refused:
            await Watch(running.channel).read()
        assert (refused.value.code, refused.value.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
        upload = UploadStream(running.channel)
        await upload.begin(size_bytes=2, upload_id="beside")
        assert (await upload.answer()).ready.offset == 0


async def test_a_server_that_stops_sends_watchers_on_and_does_not_wait_for_those_that_do_not_read(
    tmp_path: Path,
) -> None:
    async with running_server(tmp_path / "data") as running:
        await call(running.channel, "CreateModel", {"name": "default/m0"})
        watch, stuck = Watch(running.channel), Watch(running.channel)
        await watch.read()
        for each in range(30):
            await change(running, "default/m0", description=f"{each} " + 60_000 * "a")
        await stuck.read()
        end = await head(running)
        await watch.until(end)

        async with asyncio.timeout(SECONDS):
            await running.server.stop(grace_seconds=1000)

        with pytest.raises(Refused) as refused:
            await watch.read()
        assert (refused.value.code, refused.value.reason) == ("UNAVAILABLE", "DRAINING")


async def test_commits_of_another_server_are_seen(postgresql_url: str, tmp_path: Path, opened: Open) -> None:
    async with running_server(tmp_path / "data", database=postgresql_url) as running:
        watch = Watch(running.channel)
        begin = (await watch.read()).sequence
        other = await opened(postgresql_url)
        await other.write(namespaces.create, act(), name="elsewhere")
        assert await watch.until(begin + 1) == [begin + 1]
