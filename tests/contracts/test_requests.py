"""Request ids: whatever is retried, a mutation happens once and every answer is the first one."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from sqlalchemy import update

from steelyard_server import errors
from steelyard_server.core import requests, versions
from steelyard_server.core.versions import Draft
from steelyard_server.db import tables
from steelyard_server.db.database import Database
from steelyard_server.history.act import Act, RequestKey
from tests.contracts.registry import BLOB, FRAUD, act, build, everything, rows

EXPIRED = update(tables.requests).values(expire_time=1)


def key(digest: str = "one", *, method: str = "CreateVersion", request_id: str = "") -> RequestKey:
    return RequestKey(method=method, id=request_id or str(uuid.UUID(int=7)), digest=digest)


def encode(outcome: versions.Outcome) -> bytes:
    version, created, sequence = outcome.version, outcome.created, outcome.sequence
    return f"{version.number} {version.uid} {created} {sequence}".encode()


async def once(database: Database, why: Act, seed: int = 1, *, blob: tuple[str, int] = BLOB) -> bytes:
    arguments: dict[str, Any] = {"model": FRAUD, "built": build(seed, blob=blob), "draft": Draft()}
    return await database.write(requests.once, why, versions.create, encode, **arguments)


async def count(database: Database) -> int:
    return len(await database.read(rows, tables.versions))


async def test_a_hundred_calls_with_one_id_make_one_version_and_get_one_answer(registry: Database) -> None:
    """The content differs, so that only the id can make them one."""
    calls = (once(registry, act(request=key()), seed) for seed in range(100))
    answers = await asyncio.gather(*calls)

    assert len(set(answers)) == 1
    assert await count(registry) == 1
    assert len(await registry.read(rows, tables.requests)) == 1


async def test_an_id_with_another_request_is_refused_and_changes_nothing(registry: Database) -> None:
    await once(registry, act(request=key()))
    before = await registry.read(everything)
    with pytest.raises(errors.RequestIdReused) as refused:
        await once(registry, act(request=key("two")), 2)
    assert refused.value.field == "request_id"
    assert await registry.read(everything) == before


async def test_an_id_belongs_to_one_caller_one_method_and_one_text(registry: Database) -> None:
    acts = [
        act(request=key()),
        act("grace", request=key()),
        act(request=key(method="CopyVersion")),
        act(request=key(request_id=str(uuid.uuid4()))),
        act(),
        act(),
    ]
    for seed, each in enumerate(acts):
        await once(registry, each, seed)
    assert await count(registry) == len(acts)


async def test_a_failure_is_not_remembered(registry: Database) -> None:
    with pytest.raises(errors.BlobMissing):
        await once(registry, act(request=key()), blob=("sha256:" + "e" * 64, 1))
    answer = await once(registry, act(request=key()))
    assert answer.startswith(b"1 ")
    assert await once(registry, act(request=key())) == answer


async def test_an_answer_is_forgotten_when_its_time_is_over(registry: Database) -> None:
    await once(registry, act(request=key()))
    await registry.write(lambda tx: tx.run(EXPIRED, {}))
    assert (await once(registry, act(request=key("two")), 2)).startswith(b"2 ")
    assert await registry.write(requests.expire) == 0
    await registry.write(lambda tx: tx.run(EXPIRED, {}))
    assert await registry.write(requests.expire) == 1


async def test_answers_are_forgotten_the_oldest_first_some_at_a_time(
    registry: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        await once(registry, act(request=key(request_id=str(uuid.UUID(int=seed)))), seed)
    await registry.write(lambda tx: tx.run(EXPIRED, {}))
    monkeypatch.setattr(requests, "EXPIRED_MAXIMUM", 2)

    assert [await registry.write(requests.expire) for _ in range(3)] == [2, 1, 0]
