"""Threads of one transfer: the first failure ends them all, and a broken stream is tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from steelyard import reasons
from steelyard.errors import DeadlineExceeded, SteelyardError, Stopped, Unavailable, Unreachable

Item = TypeVar("Item")

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 3.0
# Ctrl-C does not wake a main thread that waits when the system hands it to another one.
_LONGEST_WAIT_SECONDS = 0.5
# What a later stream may get through: the server restarts, is busy, or lost patience with this client.
_PASSING = (Unreachable, Unavailable, DeadlineExceeded, reasons.Overloaded)


class Stop:
    """Tells one transfer to end, from any thread, and breaks off the streams that it waits for."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._calls: set[Any] = set()
        self._lock = threading.Lock()

    @property
    def is_set(self) -> bool:
        """Whether to end."""
        return self._asked.is_set()

    def set(self) -> None:
        """Ask the transfer to end."""
        self._asked.set()
        with self._lock:
            calls = tuple(self._calls)
        for call in calls:
            call.cancel()

    def check(self) -> None:
        """Go on only if the transfer is not to end.

        Raises:
            Stopped: it is.
        """
        if self.is_set:
            raise Stopped("The call was asked to end; what was done is kept for the next one.")

    @contextmanager
    def breaking(self, call: Any) -> Iterator[None]:
        """Break *call* off when the transfer ends, and when the block does."""
        with self._lock:
            self._calls.add(call)
        try:
            if self.is_set:
                call.cancel()
            yield
        finally:
            with self._lock:
                self._calls.discard(call)
            call.cancel()

    def pause(self, seconds: float) -> None:
        """Wait, unless the transfer ends meanwhile."""
        until = time.monotonic() + seconds
        while not self._asked.is_set() and (left_seconds := until - time.monotonic()) > 0:
            self._asked.wait(min(left_seconds, _LONGEST_WAIT_SECONDS))


class Patience:
    """Decides whether to try once more, waiting longer from time to time while nothing moves.

    Args:
        seconds: to go on without any progress.
    """

    def __init__(self, seconds: float, *, stop: Stop) -> None:
        self._seconds = seconds
        self._stop = stop
        self.moved()

    def moved(self, at: float | None = None) -> None:
        """Note progress, now or when `time.monotonic` was *at*."""
        self._since = time.monotonic() if at is None else at
        self._pause_seconds = _FIRST_PAUSE_SECONDS

    def wait(self, error: SteelyardError) -> None:
        """Wait before the next attempt.

        Raises:
            Stopped: the transfer is to end.
            SteelyardError: *error*, when it does not pass by itself or nothing moved for too long.
        """
        self._stop.check()
        waited = time.monotonic() - self._since
        if not isinstance(error, _PASSING) or waited > self._seconds:
            raise error
        self._stop.pause(self._pause_seconds)
        self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)


def run(task: Callable[[Item], None], items: Iterable[Item], *, stop: Stop, threads: int) -> None:
    """Do *task* with each item, in threads.

    Raises:
        BaseException: what the first task that failed raised, after all others have ended.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="steelyard-transfer")
    try:
        pending = {pool.submit(task, item) for item in items}
        while pending:
            done, pending = wait(pending, _LONGEST_WAIT_SECONDS, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
