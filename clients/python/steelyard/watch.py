"""Notice a stream that is open and on which nothing moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

Message = TypeVar("Message")


class Watch:
    """Breaks a call off on which nothing moved for too long, unless this side is what is slow.

    Args:
        seconds: that may pass without a message from the server, or one that it took.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._busy = 0
        self.has_stalled = False
        self.moved_at = time.monotonic()

    @contextmanager
    def over(self, call: Any) -> Iterator[None]:
        """Watch *call* until the block ends."""
        threading.Thread(target=self._watch, args=(call,), name="steelyard-watch", daemon=True).start()
        try:
            yield
        finally:
            self._ended.set()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Take the time of this side; it begins with a message that moved, and ends with another."""
        self._shift(+1)
        try:
            yield
        finally:
            self._shift(-1)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait for the server in the middle of work."""
        self._shift(-1)
        try:
            yield
        finally:
            self._shift(+1)

    def receiving(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Yield *messages*; what is done with each is work of this side."""
        for message in messages:
            with self.working():
                yield message

    def sending(self, messages: Iterator[bytes]) -> Iterator[bytes]:
        """Yield *messages*; making each is work of this side, and that it is taken is a move of the other."""
        while True:
            with self.working():
                message = next(messages, None)
            if message is None:
                return
            yield message

    def _shift(self, busy: int) -> None:
        with self._lock:
            self._busy += busy
            self.moved_at = time.monotonic()

    def _watch(self, call: Any) -> None:
        left_seconds = self._seconds
        while left_seconds > 0:
            if self._ended.wait(left_seconds):
                return
            left_seconds = self._left_seconds()
        self.has_stalled = True
        call.cancel()

    def _left_seconds(self) -> float:
        with self._lock:
            return self._seconds if self._busy else self.moved_at + self._seconds - time.monotonic()
