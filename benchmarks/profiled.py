"""Run the server under cProfile, all its threads: ``python -m benchmarks.profiled FILE ARGUMENTS``.

The file is for ``python -m pstats``. Numbers of a profiled server are no results.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import threading
import time
from typing import Any

from steelyard_server import __main__ as server

_profiles: list[cProfile.Profile] = []
_run = threading.Thread.run


def main(path: str) -> None:
    """Serve until SIGTERM, then write the profile to *path*."""
    # A profile sees one thread, so every thread must start its own.
    setattr(threading.Thread, "run", _run_profiled)  # noqa: B010 - mypy refuses the plain assignment
    try:
        _profiled(server.main)
    finally:
        collected = pstats.Stats(_profiles[0])
        for profile in _profiles[1:]:
            collected.add(profile)
        collected.dump_stats(path)


def _run_profiled(thread: threading.Thread) -> None:
    _profiled(lambda: _run(thread))


def _profiled(function: Any) -> None:
    # CPU time of the thread, for wall time would be that of waiting for calls and for the interpreter lock.
    profile = cProfile.Profile(time.thread_time)
    _profiles.append(profile)
    profile.runcall(function)


if __name__ == "__main__":
    path = sys.argv.pop(1)
    main(path)
