"""The same client for asyncio: each call runs in a thread, so that there is one implementation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import update_wrapper
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from steelyard.aliases import Aliases
from steelyard.client import Client
from steelyard.maintenance import Maintenance
from steelyard.models import Models
from steelyard.namespaces import Namespaces
from steelyard.versions import Versions

if TYPE_CHECKING:
    from steelyard.types import Version

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Calls = TypeVar("Calls")

BATCH = 100


class _Cancelled(Exception):
    """Ends a transfer whose caller has gone."""


class _Wrapper(Generic[Calls]):
    """Holds the object whose methods run in threads."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls


def _call(
    method: Callable[Concatenate[Any, Arguments], Result],
) -> Callable[Concatenate[Any, Arguments], Awaitable[Result]]:
    """Make a method run in a thread."""

    async def run(self: Any, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return await asyncio.to_thread(method, self._calls, *args, **kwargs)

    return update_wrapper(run, method)


def _list(
    method: Callable[Concatenate[Any, Arguments], Iterator[Result]],
) -> Callable[Concatenate[Any, Arguments], AsyncIterator[Result]]:
    """Make a method that yields fetch in a thread, some entries at a time."""

    async def run(self: Any, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> AsyncIterator[Result]:
        entries = method(self._calls, *args, **kwargs)
        while batch := await asyncio.to_thread(lambda: list(islice(entries, BATCH))):
            for entry in batch:
                yield entry

    return update_wrapper(run, method)


def _transfer(
    method: Callable[Concatenate[Any, Arguments], Result],
) -> Callable[Concatenate[Any, Arguments], Awaitable[Result]]:
    """Make a transfer run in a thread, report its progress on the loop, and end when its caller does."""

    async def run(self: Any, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        loop = asyncio.get_running_loop()
        given: Any = kwargs.get("progress")
        cancelled = threading.Event()

        def relay(progress: object) -> None:
            if cancelled.is_set():
                raise _Cancelled
            if given is not None:
                loop.call_soon_threadsafe(given, progress)

        kwargs["progress"] = relay
        try:
            return await asyncio.to_thread(method, self._calls, *args, **kwargs)
        finally:
            cancelled.set()

    return update_wrapper(run, method)


class AsyncNamespaces(_Wrapper[Namespaces]):
    """See `steelyard.namespaces.Namespaces`."""

    create = _call(Namespaces.create)
    get = _call(Namespaces.get)
    list = _list(Namespaces.list)
    update = _call(Namespaces.update)
    delete = _call(Namespaces.delete)


class AsyncModels(_Wrapper[Models]):
    """See `steelyard.models.Models`."""

    create = _call(Models.create)
    get = _call(Models.get)
    list = _list(Models.list)
    update = _call(Models.update)
    rename = _call(Models.rename)


class AsyncVersions(_Wrapper[Versions]):
    """See `steelyard.versions.Versions`."""

    create = _call(Versions.create)
    get = _call(Versions.get)
    batch_get = _call(Versions.batch_get)
    list = _list(Versions.list)
    update = _call(Versions.update)
    manifest = _call(Versions.manifest)
    files = _list(Versions.files)


class AsyncAliases(_Wrapper[Aliases]):
    """See `steelyard.aliases.Aliases`."""

    set = _call(Aliases.set)
    get = _call(Aliases.get)
    list = _list(Aliases.list)
    delete = _call(Aliases.delete)
    rollback = _call(Aliases.rollback)
    moves = _list(Aliases.moves)


class AsyncMaintenance(_Wrapper[Maintenance]):
    """See `steelyard.maintenance.Maintenance`; who is cancelled stops following a run, which goes on."""

    backup = _transfer(Maintenance.backup)


class AsyncClient(_Wrapper[Client]):
    """The client for asyncio; see `steelyard.client.Client` for its arguments and calls.

    Lists are asynchronous iterators. A transfer whose task is cancelled ends at its next step; what
    was transferred is kept for the next attempt.
    """

    get = _call(Client.get)
    push = _transfer(Client.push)
    pull = _transfer(Client.pull)
    verify = _transfer(Client.verify)
    read = _call(Client.read)
    server_info = _call(Client.server_info)
    who_am_i = _call(Client.who_am_i)

    def __init__(self, server: str | None = None, **settings: Any) -> None:
        super().__init__(Client(server, **settings))
        self.namespaces = AsyncNamespaces(self._calls.namespaces)
        self.models = AsyncModels(self._calls.models)
        self.versions = AsyncVersions(self._calls.versions)
        self.aliases = AsyncAliases(self._calls.aliases)
        self.maintenance = AsyncMaintenance(self._calls.maintenance)

    async def __aenter__(self) -> Self:
        """Return the client; the end of the block closes it."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Close the channel to the server."""
        await asyncio.to_thread(self._calls.close)

    @asynccontextmanager
    async def open(self, ref: str | Version, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Read one file in chunks; see `Client.open`."""
        opened = self._calls.open(ref, path)
        chunks = await asyncio.to_thread(opened.__enter__)
        try:
            yield _chunks(chunks)
        finally:
            await asyncio.to_thread(opened.__exit__, None, None, None)


async def _chunks(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (chunk := await asyncio.to_thread(next, chunks, b"")) != b"":
        yield chunk
