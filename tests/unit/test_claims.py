"""Storing a blob and claiming it exclude each other, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from steelyard_server.blobs.claims import Claims


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_being_stored_is_not_claimed_and_what_is_claimed_is_stored_later() -> None:
    claims, done, go = Claims(), [], asyncio.Event()

    async def step() -> None:
        await go.wait()
        done.append("stored")

    first = asyncio.create_task(claims.store(["a", "b"], step))
    await turns()
    with claims.claim(["a", "c"]) as claimed:
        assert claimed == ["c"]
        waiting = asyncio.create_task(claims.store(["c"], step))
        go.set()
        await first
        await turns()
        assert done == ["stored"]
        with claims.claim(["c", "a"]) as others:
            assert others == ["a"]
    await waiting
    assert done == ["stored", "stored"]
    with claims.claim(["a", "b", "c"]) as claimed:
        assert claimed == ["a", "b", "c"]


async def test_many_may_store_the_same_at_once_and_the_last_frees_it() -> None:
    claims = Claims()
    gates = [asyncio.Event() for _ in range(3)]
    tasks = [asyncio.create_task(claims.store(["a"], gate.wait)) for gate in gates]  # type: ignore[arg-type]
    await turns()
    for gate, task in zip(gates, tasks, strict=True):
        with claims.claim(["a"]) as claimed:
            assert claimed == []
        gate.set()
        await task
    with claims.claim(["a"]) as claimed:
        assert claimed == ["a"]


async def test_a_step_whose_caller_is_cancelled_goes_on_to_its_end_and_keeps_the_blob() -> None:
    claims, done, go = Claims(), [], asyncio.Event()

    async def step() -> None:
        await go.wait()
        done.append("stored")

    task = asyncio.create_task(claims.store(["a"], step))
    await turns()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    with claims.claim(["a"]) as claimed:
        assert claimed == []
    closing = asyncio.create_task(claims.close())
    await turns()
    assert not closing.done()
    go.set()
    await closing
    assert done == ["stored"]
    with claims.claim(["a"]) as claimed:
        assert claimed == ["a"]


async def test_an_error_reaches_the_caller_and_frees_the_blob() -> None:
    claims = Claims()

    async def fail() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        await claims.store(["a"], fail)
    with claims.claim(["a"]) as claimed:
        assert claimed == ["a"]
