"""A server under uploads, broken streams, versions and their ends, copies and collections, all at once."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.api.calls import Refused, call
from tests.api.test_maintenance import AT_ONCE, files
from tests.api.uploads import UploadStream, digest_of
from tests.contracts.registry import end_leases
from tests.servers import Running, running_server

MIB = 1 << 20
# Few, so that all meet on them; small ones go in batches, large ones have checks in a file of their own.
CONTENTS = [b"a", b"b" * 1000, b"c" * 20_000, b"d" * (MIB + 5)]
ROUNDS = 12
FRAUD, COPIES = "default/fraud", "other/copies"


@pytest.fixture
async def running(location: Any, tmp_path: Path) -> AsyncIterator[Running]:
    """Run a server on each database in turn."""
    database = {"database": location} if isinstance(location, str) else {}
    async with running_server(tmp_path / "data", **database) as started:
        yield started


@dataclass
class Users:
    """Those who use one server, and the versions and copies they have not ended."""

    running: Running
    dice: random.Random
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    kept: dict[tuple[str, int], bytes] = field(default_factory=dict)

    async def push(self) -> None:
        """Make versions and copies, read each back, delete all, bring some back, and end the rest."""
        for _ in range(ROUNDS):
            data = self.dice.choice(CONTENTS)
            number = await self.make_version(data)
            assert await self.read(number) == data
            copied = await self.copy(number) if self.dice.random() < 0.5 else 0
            await self.end(number, data)
            if copied:
                assert await self.read(copied, model=COPIES) == data
                await self.end(copied, data, model=COPIES)

    async def end(self, number: int, data: bytes, *, model: str = FRAUD) -> None:
        """Delete a version; then bring it back and keep it, or purge it."""
        reference = {"version": {"model": model, "number": number}}
        await call(self.running.channel, "DeleteVersion", reference)
        if self.dice.random() < 0.3:
            await call(self.running.channel, "UndeleteVersion", reference)
            assert await self.read(number, model=model) == data
            self.kept[model, number] = data
        else:
            await call(self.running.channel, "PurgeVersion", reference)

    async def copy(self, number: int) -> int:
        """Copy a version into another namespace, which never had the bytes."""
        source = {"model": FRAUD, "number": number}
        copied = await call(self.running.channel, "CopyVersion", {"source": source, "model": COPIES})
        return int(copied.version.number)

    async def make_version(self, data: bytes) -> int:
        """Upload and create, again when the lease was ended in between."""
        request = content(data, seed=next(self.numbers))
        while True:
            await self.upload(data)
            try:
                made = await call(self.running.channel, "CreateVersion", request)
            except Refused as refused:
                if refused.reason != "BLOB_MISSING":
                    raise
            else:
                return int(made.version.number)

    async def upload(self, data: bytes) -> None:
        stream = UploadStream(self.running.channel, actor=f"user-{next(self.numbers)}")
        await self.send(stream, data)
        answer = await stream.answer()
        assert digest_of(data) in {answer.finished.digest, answer.already_present.digest}
        await stream.half_close()

    async def send(self, stream: UploadStream, data: bytes) -> None:
        header = {"size_bytes": len(data), "digest": digest_of(data), "from_start": True}
        if len(data) < MIB:
            await stream.send(header=header | {"namespace": "default"}, data=data, finish={})
            return
        await stream.begin(**header)
        for begin in range(0, len(data), MIB):
            await stream.send(data=data[begin : begin + MIB])
        await stream.send(finish={})

    async def break_off(self) -> None:
        """Upload, and go away at any moment."""
        for _ in range(ROUNDS):
            stream = UploadStream(self.running.channel, actor=f"user-{next(self.numbers)}")
            await self.send(stream, self.dice.choice(CONTENTS))
            with suppress(TimeoutError, Refused):
                async with asyncio.timeout(self.dice.random() / 100):
                    await stream.answer()
            stream.cancel()

    async def read(self, number: int, *, model: str = FRAUD) -> bytes:
        request = {"version": {"model": model, "number": number}, "path": "f"}
        return b"".join([part.data for part in await call(self.running.channel, "ReadFile", request)])

    async def end_leases(self) -> None:
        await self.running.server.database.write(end_leases)

    async def collect(self) -> None:
        await call(self.running.channel, "CollectGarbage", AT_ONCE)

    async def verify(self) -> None:
        answers = await call(self.running.channel, "VerifyStorage")
        assert answers[-1].problems_count == 0

    async def ask(self) -> None:
        """Ask for the newest version, as those who serve do."""
        await call(self.running.channel, "GetVersion", {"version": {"model": FRAUD, "alias": "first"}})


def content(data: bytes, *, seed: int) -> dict[str, Any]:
    files = [{"path": "f", "digest": digest_of(data), "size_bytes": len(data)}]
    parameters = [{"name": "seed", "integer": seed}]
    return {"model": FRAUD, "content": {"files": files, "parameters": parameters}}


async def until(ended: asyncio.Event, work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Do *work* again and again; return how often."""
    times = 0
    while not ended.is_set():
        await work()
        times += 1
    return times


@pytest.mark.timeout(300)
async def test_nothing_needed_is_lost_and_all_garbage_goes(running: Running) -> None:
    users = Users(running, random.Random(1))  # noqa: S311 - the same game each time
    await call(running.channel, "CreateNamespace", {"name": "other"})
    for name in (FRAUD, COPIES):
        await call(running.channel, "CreateModel", {"name": name})
    first = await users.make_version(b"first")
    await call(running.channel, "SetAlias", {"version": {"model": FRAUD, "number": first}, "alias": "first"})
    ended = asyncio.Event()
    around = [users.end_leases, users.collect, users.collect, users.verify, users.ask]
    tasks = [asyncio.create_task(until(ended, work)) for work in around]
    try:
        await asyncio.gather(*(users.push() for _ in range(3)), users.break_off(), users.break_off())
    finally:
        ended.set()
        times = await asyncio.gather(*tasks)
    assert min(times) > 1
    assert {model for model, _ in users.kept} == {FRAUD, COPIES}
    for (model, number), data in users.kept.items():
        assert await users.read(number, model=model) == data
    await users.verify()

    for model, number in users.kept:
        for rpc in ("DeleteVersion", "PurgeVersion"):
            await call(running.channel, rpc, {"version": {"model": model, "number": number}})
    await running.server._maintenance.storage.claims.close()
    await users.end_leases()
    await users.collect()
    kept = [digest_of(b"first").removeprefix("sha256:")]
    assert (files(running, "sha256"), files(running, "trash")) == (kept, [])
    assert await users.read(first) == b"first"
