"""A limit on bytes a second, as a bucket of tokens: what is kept is when it will not be empty any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

# What may be saved up in a pause.
SAVED_SECONDS: Final = 1.0


class Pace:
    """Let at most so many bytes a second through; called before each step, in one thread.

    A second's worth may go at once. A step larger than that goes too, and those after it wait longer.

    Args:
        bytes_per_second: 0 for no limit.
        wait: blocks for a number of seconds, or less.
        check: called with each step; what it raises ends the work.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        bytes_per_second: int,
        *,
        wait: Callable[[float], None],
        check: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bytes_per_second = bytes_per_second
        self._wait = wait
        self._check = check
        self._clock = clock
        self._due_time = clock() - SAVED_SECONDS

    def __call__(self, size_bytes: int) -> None:
        """Wait until *size_bytes* may go."""
        self._check()
        if not self._bytes_per_second:
            return
        while (left_seconds := self._due_time - self._clock()) > 0:
            self._wait(left_seconds)
            self._check()
        self._due_time = max(self._due_time, self._clock() - SAVED_SECONDS)
        self._due_time += size_bytes / self._bytes_per_second
