"""The same client for asyncio: each call runs in a thread, so that there is one implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial, update_wrapper
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from steelyard.access import Access
from steelyard.aliases import Aliases
from steelyard.client import Client
from steelyard.environments import Environments
from steelyard.errors import Stopped
from steelyard.evaluations import Evaluations
from steelyard.events import Events
from steelyard.maintenance import Maintenance
from steelyard.models import Models
from steelyard.namespaces import Namespaces
from steelyard.policies import Policies
from steelyard.promotions import Promotions
from steelyard.versions import Versions
from steelyard.workers import Stop

if TYPE_CHECKING:
    from steelyard.types import Version

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Calls = TypeVar("Calls")

BATCH = 100


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
        given: dict[str, Any] = kwargs
        stop: Stop = given.get("stop") or Stop()
        relay = _Relay(given.get("progress"), stop=stop)
        given |= {"stop": stop, "progress": relay if relay.report else None}
        try:
            result = await asyncio.to_thread(method, self._calls, *args, **kwargs)
        except Stopped:
            if relay.raised is None:
                raise
        finally:
            stop.set()
        if relay.raised is not None:
            raise relay.raised
        return result

    return update_wrapper(run, method)


def _watch(
    method: Callable[Concatenate[Any, Arguments], Iterator[Result]],
) -> Callable[Concatenate[Any, Arguments], AsyncIterator[Result]]:
    """Make a method that yields what comes wait in a thread of its own, and end when its caller does.

    Such waits last for ever, so they must not take the threads that all other calls share.
    """

    async def run(self: Any, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> AsyncIterator[Result]:
        given: dict[str, Any] = kwargs
        stop: Stop = given.get("stop") or Stop()
        given |= {"stop": stop}
        loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1, thread_name_prefix="steelyard-watch")
        try:
            entries = await loop.run_in_executor(thread, partial(method, self._calls, *args, **kwargs))
            while (entry := await loop.run_in_executor(thread, next, entries, None)) is not None:
                yield entry
        finally:
            stop.set()
            thread.shutdown(wait=False)

    return update_wrapper(run, method)


class _Relay:
    """Hands progress from a thread to the loop; what the callback raises there ends the transfer."""

    def __init__(self, report: Any, *, stop: Stop) -> None:
        self.report = report
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self.raised: BaseException | None = None

    def __call__(self, progress: object) -> None:
        """Let the loop call the callback soon."""
        self._loop.call_soon_threadsafe(self._call, progress)

    def _call(self, progress: object) -> None:
        if self._stop.is_set:
            return
        try:
            self.report(progress)
        except BaseException as error:  # noqa: BLE001  raised again in the task
            self.raised = error
            self._stop.set()


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
    absent_fields = _call(Models.absent_fields)
    update = _call(Models.update)
    rename = _call(Models.rename)
    delete = _call(Models.delete)
    undelete = _call(Models.undelete)
    purge = _call(Models.purge)


class AsyncVersions(_Wrapper[Versions]):
    """See `steelyard.versions.Versions`."""

    create = _call(Versions.create)
    batch_create = _call(Versions.batch_create)
    get = _call(Versions.get)
    batch_get = _call(Versions.batch_get)
    list = _list(Versions.list)
    absent_fields = _call(Versions.absent_fields)
    update = _call(Versions.update)
    delete = _call(Versions.delete)
    undelete = _call(Versions.undelete)
    purge = _call(Versions.purge)
    copy = _call(Versions.copy)
    compare = _call(Versions.compare)
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


class AsyncEvents(_Wrapper[Events]):
    """See `steelyard.events.Events`."""

    list = _list(Events.list)
    watch = _watch(Events.watch)


class AsyncAccess(_Wrapper[Access]):
    """See `steelyard.access.Access`."""

    identity = _call(Access.identity)
    create_token = _call(Access.create_token)
    tokens = _list(Access.tokens)
    revoke_token = _call(Access.revoke_token)
    grant = _call(Access.grant)
    revoke = _call(Access.revoke)
    grants = _list(Access.grants)
    create_group = _call(Access.create_group)
    update_group = _call(Access.update_group)
    delete_group = _call(Access.delete_group)
    groups = _list(Access.groups)


class AsyncPolicies(_Wrapper[Policies]):
    """See `steelyard.policies.Policies`."""

    set = _call(Policies.set)
    get = _call(Policies.get)
    list = _call(Policies.list)
    delete = _call(Policies.delete)


class AsyncEnvironments(_Wrapper[Environments]):
    """See `steelyard.environments.Environments`."""

    create = _call(Environments.create)
    get = _call(Environments.get)
    list = _list(Environments.list)
    update = _call(Environments.update)
    delete = _call(Environments.delete)


class AsyncPromotions(_Wrapper[Promotions]):
    """See `steelyard.promotions.Promotions`."""

    create = _call(Promotions.create)
    get = _call(Promotions.get)
    list = _list(Promotions.list)
    review = _call(Promotions.review)
    report = _call(Promotions.report)
    cancel = _call(Promotions.cancel)
    override = _call(Promotions.override)
    revoke = _call(Promotions.revoke)
    watch = _watch(Promotions.watch)


class AsyncEvaluations(_Wrapper[Evaluations]):
    """See `steelyard.evaluations.Evaluations`."""

    record = _call(Evaluations.record)
    import_ = _call(Evaluations.import_)
    list = _list(Evaluations.list)
    get = _call(Evaluations.get)
    read_report = _call(Evaluations.read_report)


class AsyncMaintenance(_Wrapper[Maintenance]):
    """See `steelyard.maintenance.Maintenance`; who is cancelled stops following a run, which goes on."""

    collect_garbage = _transfer(Maintenance.collect_garbage)
    verify_storage = _transfer(Maintenance.verify_storage)
    storage_usage = _call(Maintenance.storage_usage)
    backup = _transfer(Maintenance.backup)


class AsyncClient(_Wrapper[Client]):
    """The client for asyncio; see `steelyard.client.Client` for its arguments and calls.

    Lists are asynchronous iterators. A transfer whose task is cancelled ends at once; what was
    transferred is kept for the next attempt.
    """

    get = _call(Client.get)
    compare = _call(Client.compare)
    push = _transfer(Client.push)
    pull = _transfer(Client.pull)
    verify = _transfer(Client.verify)
    export_bundle = _transfer(Client.export_bundle)
    import_bundle = _transfer(Client.import_bundle)
    read_bundle = _transfer(Client.read_bundle)
    server_info = _call(Client.server_info)
    who_am_i = _call(Client.who_am_i)

    def __init__(self, server: str | None = None, **settings: Any) -> None:
        super().__init__(Client(server, **settings))
        self.namespaces = AsyncNamespaces(self._calls.namespaces)
        self.models = AsyncModels(self._calls.models)
        self.versions = AsyncVersions(self._calls.versions)
        self.aliases = AsyncAliases(self._calls.aliases)
        self.evaluations = AsyncEvaluations(self._calls.evaluations)
        self.maintenance = AsyncMaintenance(self._calls.maintenance)
        self.events = AsyncEvents(self._calls.events)
        self.access = AsyncAccess(self._calls.access)
        self.policies = AsyncPolicies(self._calls.policies)
        self.environments = AsyncEnvironments(self._calls.environments)
        self.promotions = AsyncPromotions(self._calls.promotions)

    async def __aenter__(self) -> Self:
        """Return the client; the end of the block closes it."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.close()

    async def read(self, ref: str | Version, path: str) -> bytes:
        """Return the bytes of one file, verified; for large ones use `open`."""
        async with self.open(ref, path) as chunks:
            return b"".join([chunk async for chunk in chunks])

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
            # Here, for all threads may be waiting for streams that this breaks off.
            opened.__exit__(None, None, None)


async def _chunks(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (chunk := await asyncio.to_thread(next, chunks, b"")) != b"":
        yield chunk
