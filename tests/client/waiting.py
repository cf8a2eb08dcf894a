"""Wait for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 20


def until(condition: Callable[[], bool]) -> None:
    """Ask again and again, at most for 20 seconds, until *condition* holds."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "It did not come to be so."
        time.sleep(0.005)
