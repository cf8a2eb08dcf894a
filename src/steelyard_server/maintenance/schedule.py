"""Runs that the server begins by itself, time after time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from steelyard_server.errors import RegistryError

# A server that starts often comes to its runs all the same.
FIRST_SECONDS = 60.0

_log = logging.getLogger(__name__)


async def repeat(begin: Callable[[], object], *, every_seconds: float) -> None:
    """Call *begin* soon after the start, and then every so many seconds, until cancelled.

    A run that cannot begin, because another one goes on above all, is left out.
    """
    await asyncio.sleep(min(FIRST_SECONDS, every_seconds))
    while True:
        try:
            begin()
        except RegistryError as error:
            _log.warning("A scheduled run was left out: %s", error)
        await asyncio.sleep(every_seconds)
