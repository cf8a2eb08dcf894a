"""Noting denials: bounded, off the path of calls, and none lost without being counted.

A call only puts a row into a list; a task writes what came together. Whoever is refused again and again
gets some rows a minute, and then one that says how many calls more there were.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

import structlog

from steelyard_server.core import denials
from steelyard_server.core.denials import SEVERAL, Denial
from steelyard_server.errors import PermissionDenied, Unauthenticated
from steelyard_server.history.caller import Caller

if TYPE_CHECKING:
    from steelyard_server.api.call import Call
    from steelyard_server.db.database import Database
    from steelyard_server.errors import RegistryError

ROWS_MAXIMUM = 10
WINDOW_SECONDS = 60.0
# Callers with a count of their own, those who logged in and those who did not; all others share one each.
CALLERS_MAXIMUM = 256
WAITING_MAXIMUM = 4096
# In one transaction, which others wait for.
BATCH_ROWS = 64
FLUSH_SECONDS, RETRY_SECONDS = 0.5, 10.0
STOP_SECONDS = 5.0
# Whom a count is of that many share, by whether they failed to log in.
_OTHERS = {True: Caller("anonymous"), False: Caller("steelyard", kind="service", method="server")}


@dataclass(slots=True)
class _Window:
    """What one caller was refused in the last minute.

    Args:
        caller: whom the count of the rest is of.
        more: calls that got no row of their own, as one denial; None while there are none.
    """

    end: float
    caller: Caller
    rows: int = 0
    more: Denial | None = None


@dataclass(slots=True)
class Denials:
    """Note who was refused. All methods belong to the thread of the event loop."""

    database: Database
    _waiting: deque[Denial] = field(default_factory=deque)
    _windows: dict[bool, dict[str, _Window]] = field(default_factory=lambda: {True: {}, False: {}})
    _spilled: dict[bool, Denial] = field(default_factory=dict)
    _failures: int = 0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def note(self, call: Call, error: RegistryError) -> None:
        """Note that *error* ended a call, if it is a denial."""
        if isinstance(error, Unauthenticated | PermissionDenied):
            self.add(_denial(call, error), now=time.monotonic())

    def add(self, denial: Denial, *, now: float) -> None:
        """Let a denial wait to be written, or count it."""
        window = self._window(denial, now=now)
        if window.rows < ROWS_MAXIMUM and len(self._waiting) < WAITING_MAXIMUM:
            window.rows += 1
            self._waiting.append(denial)
            return
        window.more = _sum(window.more, denial, caller=window.caller)

    async def run(self) -> None:
        """Write what waits, again and again; what cannot be written goes on to wait."""
        done = True
        while True:
            await asyncio.sleep(FLUSH_SECONDS if done else RETRY_SECONDS)
            # A write that was begun goes on: broken off, nobody would know whether it must be made again.
            done = await asyncio.shield(asyncio.create_task(self.flush(now=time.monotonic())))

    async def flush(self, *, now: float) -> bool:
        """Write what waits, with the counts of minutes that are over; return whether nothing is left."""
        async with self._lock:
            self._close_windows(now=now)
            return await self._write_all()

    async def _write_all(self) -> bool:
        while self._waiting or self._spilled:
            if not self._waiting:
                self._waiting.extend(self._spilled.values())
                self._spilled.clear()
            batch = [self._waiting[n] for n in range(min(BATCH_ROWS, len(self._waiting)))]
            try:
                await self.database.write(denials.record, batch)
            except Exception as error:  # noqa: BLE001 - whatever is wrong, the next attempt comes
                self._failures += 1
                log = structlog.get_logger("steelyard.denials")
                log.error(  # noqa: TRY400 - a traceback says nothing of a full disk
                    "Denials cannot be written to the history; they wait.",
                    why=str(error),
                    failures=self._failures,
                    waiting=len(self._waiting),
                )
                return False
            for _ in batch:
                self._waiting.popleft()
        return True

    async def close(self) -> None:
        """Write all that waits, within a limit; what cannot be written is said in the log."""
        done = False
        try:
            async with asyncio.timeout(STOP_SECONDS):
                done = await self.flush(now=float("inf"))
        except TimeoutError:
            pass
        if not done:
            for each in (*self._waiting, *self._spilled.values()):
                structlog.get_logger("steelyard.denials").error(
                    "A denial is in no event.",
                    actor=each.caller.id,
                    method=each.method,
                    reason=each.reason,
                    count=each.count,
                )

    def _window(self, denial: Denial, *, now: float) -> _Window:
        windows = self._windows[denial.is_login]
        key, caller = denial.peer if denial.is_login else denial.caller.id, denial.caller
        if key not in windows and len(windows) >= CALLERS_MAXIMUM:
            key, caller = "", _OTHERS[denial.is_login]
        found = windows.get(key)
        if found is None or found.end <= now:
            self._close(found)
            found = windows[key] = _Window(now + WINDOW_SECONDS, caller)
            if not key:
                # Many share it, so rows of single ones would be as many as they are.
                found.rows = ROWS_MAXIMUM
        return found

    def _close_windows(self, *, now: float) -> None:
        for windows in self._windows.values():
            for key in [key for key, window in windows.items() if window.end <= now]:
                self._close(windows.pop(key))

    def _close(self, window: _Window | None) -> None:
        if window is None or window.more is None:
            return
        if len(self._waiting) < WAITING_MAXIMUM:
            self._waiting.append(window.more)
            return
        kind = window.more.is_login
        self._spilled[kind] = _sum(self._spilled.get(kind), window.more, caller=_OTHERS[kind])


def _sum(before: Denial | None, denial: Denial, *, caller: Caller) -> Denial:
    """Count a denial to those before, of which only the time of the first one stays."""
    if before is not None:
        return replace(before, count=before.count + denial.count)
    peer = denial.peer if caller is denial.caller else ""
    return Denial(caller, SEVERAL, reason="", time=denial.time, peer=peer, count=denial.count)


def _denial(call: Call, error: RegistryError) -> Denial:
    return Denial(
        call.caller,
        method=call.method.removeprefix("/steelyard.v1."),
        reason=error.reason,
        time=time.time_ns() // 1000,
        permission=error.metadata.get("permission", ""),
        target=error.metadata.get("scope", ""),
        peer=_host(call.context.peer()),
        token_uid=error.metadata.get("token", ""),
    )


def _host(peer: str) -> str:
    """Return the address of a peer as gRPC writes it, without kind and port."""
    kind, _, address = unquote(peer).partition(":")
    return address.rpartition(":")[0].strip("[]") if kind in {"ipv4", "ipv6"} else kind
