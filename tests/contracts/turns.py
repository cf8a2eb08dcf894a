"""Take turns: several callers of the real rules, the real store and a real database, one step at a time.

Whoever is about to touch the database or the store waits for a turn, and a test says who is next. So
every order of steps can be played, and played again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from steelyard_server.db.database import Database
from steelyard_server.maintenance.storage import Storage

NAME: ContextVar[str] = ContextVar("NAME")
# Rounds of the loop in which whoever has had a turn comes to the next step, or to its end.
ROUNDS = 12


class Turns:
    """Who waits for a turn, and how many steps are under way."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._under_way = 0
        self._over = False

    async def step(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do *work* when it is the turn of whoever calls."""
        if self._over:
            raise RuntimeError("The game is over.")
        turn = self._waiting[NAME.get()] = asyncio.get_running_loop().create_future()
        await turn
        self._under_way += 1
        try:
            return await work()
        finally:
            self._under_way -= 1

    async def begin(self) -> None:
        """Wait for a turn before something that is no step by itself."""
        await self.step(lambda: asyncio.sleep(0))

    async def play(
        self,
        callers: Mapping[str, Coroutine[Any, Any, Any]],
        *,
        choose: Callable[[Sequence[str]], str],
        check: Callable[[], Awaitable[None]],
    ) -> None:
        """Let *callers* go on to their end, one step at a time; call *check* between two steps."""
        tasks = [asyncio.create_task(_named(name, caller)) for name, caller in callers.items()]
        try:
            while await self._next(check):
                self._waiting.pop(choose(sorted(self._waiting))).set_result(None)
            assert all(task.done() for task in tasks), "Some wait for each other."
        finally:
            self._over = True
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException):
                raise error

    async def _next(self, check: Callable[[], Awaitable[None]]) -> bool:
        """Return whether anybody waits for a turn once all is quiet and in order."""
        await self._quiet()
        await check()
        return bool(self._waiting)

    async def _quiet(self) -> None:
        calm = 0
        while calm < ROUNDS:
            await asyncio.sleep(0 if not self._under_way else 0.0005)
            calm = 0 if self._under_way else calm + 1


async def _named(name: str, caller: Coroutine[Any, Any, Any]) -> Any:
    NAME.set(name)
    return await caller


class StepDatabase:
    """A database whose transactions wait for a turn each, and so does whoever hears how they ended."""

    def __init__(self, database: Database, turns: Turns) -> None:
        self._database = database
        self._turns = turns

    async def write(self, use_case: Any, *arguments: Any, **options: Any) -> Any:
        result = await self._turns.step(lambda: self._database.write(use_case, *arguments, **options))
        await self._turns.begin()
        return result

    async def read(self, query: Any, *arguments: Any, **options: Any) -> Any:
        result = await self._turns.step(lambda: self._database.read(query, *arguments, **options))
        await self._turns.begin()
        return result


class StepStorage(Storage):
    """Storage whose work on files waits for a turn each time."""

    async def in_thread(self, function: Any, *arguments: Any) -> Any:
        turns: Turns = self.database._turns  # type: ignore[attr-defined]
        return await turns.step(lambda: Storage.in_thread(self, function, *arguments))
