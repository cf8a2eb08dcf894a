"""What goes on for a stream of blobs while it is read: the last steps of blobs, by the keys of uploads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Publishing:
    """The last steps that are under way.

    Args:
        tasks: by key; one that is done stays until somebody asks for failures.
    """

    def __init__(self) -> None:
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, key: str, step: Coroutine[Any, Any, None]) -> None:
        """Begin a last step; none of this key may be under way."""
        self.tasks[key] = asyncio.create_task(step)

    async def wait_for(self, key: str) -> None:
        """Wait for the step of a key, if it is under way.

        Raises:
            RegistryError: a step failed, this one or another.
        """
        if key in self.tasks:
            await asyncio.wait([self.tasks[key]])
        self.raise_failures()

    async def wait_for_fewer(self, count: int) -> None:
        """Wait until fewer than *count* steps are under way.

        Raises:
            RegistryError: a step failed.
        """
        while len(self.tasks) >= count:
            await asyncio.wait(self.tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            self.raise_failures()

    def raise_failures(self) -> None:
        """Forget the steps that ended.

        Raises:
            RegistryError: what the first of them that failed did.
        """
        for key, task in list(self.tasks.items()):
            if task.done():
                del self.tasks[key]
                task.result()

    async def close(self) -> None:
        """Break off what is under way."""
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
