"""A watch goes on where it was, whatever breaks on the way: no event is missed and none comes twice."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from itertools import islice

import pytest

import steelyard
from steelyard import errors, reasons
from steelyard.events import EventWatch
from tests.client.proxies import Proxy, proxy
from tests.client.waiting import SECONDS, until
from tests.servers import ServerProcess

MODEL = "fraud"
CHANGES = 120


class Reader:
    """Reads a watch in a thread, until it has an event that says that it is the last one."""

    def __init__(self, watch: EventWatch) -> None:
        self.watch = watch
        self.sequences: list[int] = []
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for event in self.watch:
                self.sequences.append(event.sequence)
                assert self.watch.sequence == event.sequence
                if event.reason == "the last one":
                    return
        except errors.SteelyardError as error:
            self.error = error

    def join(self) -> list[int]:
        self._thread.join(2 * SECONDS)
        assert not self._thread.is_alive()
        return self.sequences


@pytest.fixture
def between(shared: ServerProcess) -> Iterator[Proxy]:
    with proxy(shared.address) as opened:
        yield opened


def namespace_of(client: steelyard.Client) -> str:
    return client.models.create(MODEL).name.partition("/")[0]


def change(client: steelyard.Client, number: int, *, reason: str = "") -> None:
    client.models.update(MODEL, description=f"{number} " + "words " * (number % 50) * 20, reason=reason)


def change_anyhow(client: steelyard.Client, number: int, *, reason: str = "") -> None:
    """Change something, be the server only just starting."""

    def is_done() -> bool:
        try:
            change(client, number, reason=reason)
        except errors.Unreachable:
            return False
        return True

    until(is_done)


def expected(client: steelyard.Client, scope: str, *, after: int) -> list[int]:
    return [event.sequence for event in client.events.list(scope) if event.sequence > after]


@pytest.mark.parametrize("seed", range(3))
def test_connections_that_are_cut_anywhere_lose_and_repeat_nothing(
    client: steelyard.Client, between: Proxy, seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311 - data for tests
    scope = namespace_of(client)
    after = client.server_info().sequence
    with steelyard.Client(between.address) as watching:
        reader = Reader(watching.events.watch(scope, after=after))
        for number in range(CHANGES):
            if number % 10 == 0:
                between.cut_after(dice.randrange(1, 6_000))
            change(client, number)
        change(client, CHANGES, reason="the last one")
        assert reader.join() == expected(client, scope, after=after)
        assert reader.error is None


def test_a_server_that_is_killed_and_started_again_loses_and_repeats_nothing(child: ServerProcess) -> None:
    with steelyard.Client(child.address) as writing, steelyard.Client(child.address) as watching:
        namespace_of(writing)
        after = writing.server_info().sequence
        filtered = Reader(watching.events.watch(filter="action = model.update", after=0))
        reader = Reader(watching.events.watch(after=after))
        for number in range(4 * 15):
            if number in {15, 30}:
                child.kill()
                child.start()
            if number == 45:
                child.stop()
                child.start()
            change_anyhow(writing, number)
        change_anyhow(writing, 60, reason="the last one")
        for each in (reader, filtered):
            assert each.join() == expected(writing, "", after=after)
            assert each.error is None


def test_a_silent_connection_counts_as_broken_after_three_heartbeats(
    client: steelyard.Client, between: Proxy
) -> None:
    scope = namespace_of(client)
    with steelyard.Client(between.address) as watching:
        watch = watching.events.watch(scope, heartbeat_seconds=1)
        reader = Reader(watch)
        change(client, 1)
        until(lambda: len(reader.sequences) == 1)
        between.stall_after(0, answers=True)
        until(lambda: between.is_stalled)
        change(client, 2, reason="the last one")
        between.pass_others()
        assert len(reader.join()) == 2


def test_a_watch_begins_when_it_is_asked_for(client: steelyard.Client) -> None:
    scope = namespace_of(client)
    with client.events.watch(scope) as watch:
        change(client, 1)
        event = next(watch)
        assert (event.action, event.sequence) == ("model.update", watch.sequence)
        assert watch.epoch == client.server_info().epoch
    assert list(watch) == []


def test_a_watch_that_is_closed_by_another_thread_ends(client: steelyard.Client) -> None:
    reader = Reader(client.events.watch(namespace_of(client)))
    change(client, 1)
    until(lambda: len(reader.sequences) == 1)
    reader.watch.close()
    assert len(reader.join()) == 1
    assert reader.error is None


def test_what_can_never_be_watched_is_an_error_at_once(client: steelyard.Client) -> None:
    for options, error in (
        ({"scope": "nowhere"}, reasons.NamespaceNotFound),
        ({"filter": "actr = ada"}, reasons.FilterInvalid),
        ({"after": 1 << 40}, reasons.SequenceInFuture),
        ({"after": 1, "epoch": "old"}, reasons.HistoryReplaced),
        ({"heartbeat_seconds": 301}, reasons.OutOfBounds),
    ):
        with pytest.raises(error):
            next(client.events.watch(**options))  # type: ignore[arg-type]


def test_a_server_that_stays_away_ends_a_watch_when_patience_does(child: ServerProcess) -> None:
    with steelyard.Client(child.address, patience_seconds=0.5) as client:
        watch = client.events.watch(after=0)
        assert next(watch).sequence == 1
        child.kill()
        with pytest.raises(errors.Unreachable):
            list(watch)


async def test_many_watches_of_one_loop_leave_its_threads_free(client: steelyard.Client) -> None:
    scope = namespace_of(client)
    begin = client.server_info().sequence
    async with steelyard.AsyncClient(client.events._connection.server) as watching:
        streams = [watching.events.watch(scope, after=begin) for _ in range(40)]
        tasks = [asyncio.create_task(anext(stream)) for stream in streams]
        await watching.server_info()
        await asyncio.to_thread(change, client, 1)
        assert {event.sequence for event in await asyncio.gather(*tasks)} == {begin + 1}
        for stream in streams:
            await stream.aclose()  # type: ignore[attr-defined]


async def test_a_task_that_is_cancelled_leaves_its_watch(client: steelyard.Client) -> None:
    async with steelyard.AsyncClient(client.events._connection.server) as watching:
        stream = watching.events.watch(namespace_of(client))
        task = asyncio.create_task(anext(stream))
        await watching.server_info()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_events_list_filter_and_order(client: steelyard.Client) -> None:
    scope = namespace_of(client)
    change(client, 1, reason="ticket 7")
    newest = next(client.events.list(scope, order_by="sequence desc"))
    assert (newest.reason, newest.resources) == ("ticket 7", (f"model/{scope}/{MODEL}",))
    assert list(client.events.list(scope, filter="reason:*")) == [newest]
    assert list(islice(client.events.list(filter=f"sequence = {newest.sequence}"), 2)) == [newest]
