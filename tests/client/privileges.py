"""Run a function as somebody whom file permissions bind, also where tests run as root."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

CAPABILITIES_VERSION_3 = 0x20080522


def without_privileges(function: Callable[[], Result]) -> Result:
    """Call *function* in a thread, and threads that it starts, without the capabilities of root."""

    def run() -> Result:
        if os.geteuid() == 0:
            _drop_capabilities()
        return function()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def _drop_capabilities() -> None:
    """Give the capabilities of this thread up; on Linux each thread has its own."""
    header = struct.pack("Ii", CAPABILITIES_VERSION_3, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, bytes(24)) != 0:
        raise OSError(ctypes.get_errno(), "capset")
