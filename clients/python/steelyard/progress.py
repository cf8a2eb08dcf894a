"""How far a transfer is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.workers import Stop


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a transfer.

    Args:
        phase: `hash`, `upload`, `download` or `verify`; of a bundle also `read` and `import`.
        file: path that moved, or version.
        done_bytes: of the whole phase so far.
        total_bytes: of the whole phase; 0 when it is not known.
    """

    phase: str
    file: str
    done_bytes: int
    total_bytes: int


OnProgress = Callable[[Progress], None]
"""Called with each step, by one thread at a time. What it raises ends the transfer."""


class Raised(BaseException):
    """Carries what a callback raised past all handlers of a transfer, which would take it for their own."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class Meter:
    """Counts the bytes of one phase, from any thread; a transfer that is to end goes no further."""

    def __init__(self, phase: str, *, total_bytes: int, report: OnProgress | None, stop: Stop) -> None:
        self._phase = phase
        self._stop = stop
        self._total_bytes = total_bytes
        self._report = report
        self._done_bytes = 0
        self._lock = threading.Lock()

    def add(self, size_bytes: int, *, file: str) -> None:
        """Count bytes of *file*; negative when some must be moved again.

        Raises:
            Stopped: the transfer is to end.
            Raised: the callback raised something.
        """
        self._stop.check()
        if self._report is None:
            return
        with self._lock:
            self._done_bytes += size_bytes
            try:
                self._report(Progress(self._phase, file, self._done_bytes, self._total_bytes))
            except BaseException as error:
                raise Raised(error) from error
