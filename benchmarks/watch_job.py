"""A process with many watches that changes something: ``python -m benchmarks.watch_job JOB``."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import Any

import grpc.aio
import uvloop

from benchmarks import sample
from steelyard.v1 import alias_service_pb2, event_service_pb2

CONNECTIONS = 10
CALL_SECONDS = 60.0


class Watchers:
    """Streams that note when each message came; all of them get the same ones.

    Args:
        times: of each event, when each watcher had it, in seconds since 1970.
    """

    def __init__(self, channels: list[Any], *, count: int) -> None:
        request = event_service_pb2.WatchEventsRequest(heartbeat_seconds=300).SerializeToString()
        self.times: list[list[float]] = []
        self.messages: list[bytes] = []
        self._count = count
        self._all = asyncio.Event()
        self._streams = [
            channels[each % len(channels)].unary_stream("/steelyard.v1.EventService/WatchEvents")(request)
            for each in range(count)
        ]

    async def start(self) -> None:
        """Wait until all of them watch."""
        await asyncio.gather(*(stream.read() for stream in self._streams))
        self._tasks = [asyncio.create_task(self._read(stream)) for stream in self._streams]

    async def settled(self, events: int) -> None:
        """Wait until all watchers have so many events."""
        while len(self.times) < events or len(self.times[events - 1]) < self._count:
            self._all.clear()
            await asyncio.wait_for(self._all.wait(), CALL_SECONDS)

    async def _read(self, stream: Any) -> None:
        place = 0
        while isinstance(message := await stream.read(), bytes):
            now = time.time()
            if place == len(self.times):
                self.times.append([])
                self.messages.append(message)
            self.times[place].append(now)
            place += 1
            if len(self.times[place - 1]) == self._count:
                self._all.set()


async def watch(*, address: str, watchers: int, events: int) -> dict[str, float]:
    """Move an alias again and again, each time when all watchers heard of the last; return percentiles."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(CONNECTIONS)]
    watching = Watchers(channels, count=watchers)
    await watching.start()
    acknowledged: list[float] = []
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        method: Any = channel.unary_unary("/steelyard.v1.AliasService/SetAlias")
        make = sample.move_alias(sample.MODEL)
        for number in range(1, events + 1):
            answer = await method(make(), timeout=CALL_SECONDS)
            acknowledged.append(time.time())
            assert alias_service_pb2.SetAliasResponse.FromString(answer).sequence
            await watching.settled(number)
    for each in channels:
        await each.close()
    told = [event_service_pb2.WatchEventsResponse.FromString(message).event for message in watching.messages]
    begun = [event.time.ToNanoseconds() / 1e9 for event in told]
    return {
        "p99_ms": _p99_ms(begun, watching.times),
        "last_p99_ms": _p99_ms(begun, [[max(times)] for times in watching.times]),
        "acknowledged_p99_ms": _p99_ms(acknowledged, watching.times),
    }


def _p99_ms(begun: list[float], times: list[list[float]]) -> float:
    latencies = [time - begin for begin, each in zip(begun, times, strict=True) for time in each]
    return statistics.quantiles(latencies, n=100, method="inclusive")[98] * 1000


if __name__ == "__main__":
    print(json.dumps(uvloop.run(watch(**json.loads(sys.argv[1])))))
