"""The composition root: builds every part, starts them, and stops them in the right order."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import structlog

from steelyard_server import issuers as providers
from steelyard_server import services
from steelyard_server.api import admit, health
from steelyard_server.api.denials import Denials
from steelyard_server.api.feeds import Feeds
from steelyard_server.api.guard import EdgeLimits, Guard
from steelyard_server.api.logins import Logins
from steelyard_server.api.memo import Memo
from steelyard_server.api.pages import Pages
from steelyard_server.api.server_service import About
from steelyard_server.backups.write import BackedUp, Source, back_up
from steelyard_server.blobs.claims import Claims
from steelyard_server.blobs.local import LocalStore
from steelyard_server.config import ConfigError, split_address
from steelyard_server.core import grants, namespaces, requests, roles, scopes, tokens
from steelyard_server.db.database import open_database
from steelyard_server.directory import DirectoryInUse, DirectoryLock, require_finished
from steelyard_server.history import events
from steelyard_server.history.act import Act
from steelyard_server.history.caller import Caller
from steelyard_server.history.hub import Hub
from steelyard_server.limits import LIMITS
from steelyard_server.maintenance.collect import Collected, CollectOptions, collect
from steelyard_server.maintenance.runs import Runs, Stop
from steelyard_server.maintenance.schedule import repeat
from steelyard_server.maintenance.storage import Storage, give_way
from steelyard_server.maintenance.verify import Verified, VerifyOptions, verify
from steelyard_server.services import Maintenance, Parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard_server.api.metrics import Metrics
    from steelyard_server.api.tls import Certificates
    from steelyard_server.blobs.store import BlobStore
    from steelyard_server.config import Config
    from steelyard_server.db.database import Database
    from steelyard_server.db.postgresql_connection import Hold
    from steelyard_server.history.events import Head
    from steelyard_server.issuers import Issuer

# Threads that hash, write and read blobs; two cores are busy with three.
BYTE_THREADS = 4
# A collection, a verification and a backup may go on at once; none takes a thread from uploads and downloads.
MAINTENANCE_THREADS = 3
# Verifications in the time in which every byte is read once; each reads what is due by then.
SCRUB_PARTS = 24
HOUSEKEEPING_SECONDS = 600.0
SEAL_CHECK_SECONDS = 1.0
HOLD_CHECK_SECONDS = 5.0
# For answers that are on their way when the last call has ended.
LAST_ANSWERS_SECONDS = 1.0
OURSELVES = Act(Caller("steelyard", kind="service", method="server"), reason="first start")
SCHEDULED = Act(OURSELVES.caller, reason="scheduled")
WRITING_SERVICES = (
    "AccessService", "NamespaceService", "ModelService", "VersionService", "AliasService", "BlobService",
    "MaintenanceService", "PolicyService", "PromotionService", "EnvironmentService",
)  # fmt: skip

# Bytes of a stream that may wait for the server: at 50 ms there and back enough for 80 MB/s.
WINDOW_BYTES = 4 * 1024 * 1024
OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", LIMITS.message_bytes),
    ("grpc.max_send_message_length", LIMITS.message_bytes),
    # The same as the next, for between the two gRPC refuses at random, and with a code of its own.
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.absolute_max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", 1024),
    # A window that grows with what it measures lets each upload keep tens of MiB waiting in memory.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
    # Two servers on one port would share its connections without a word.
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 60_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
]


class CannotListen(Exception):
    """An address is taken or none of this machine, or what TLS needs cannot be used."""


@dataclass(slots=True)
class Server:
    """A running server.

    Args:
        address: host and port that gRPC listens on.
        metrics_port: port of Prometheus metrics, 0 for none.
        certificates: what TLS is spoken with, None for plain text.
        issuers: identity providers whose logins are taken.
        first_token: with which the first admin logs in, when there was nobody else who could administer.
    """

    address: str
    metrics_port: int
    certificates: Certificates | None
    first_token: str = field(repr=False)
    config: Config
    issuers: tuple[Issuer, ...]
    database: Database
    store: BlobStore
    _guard: Guard
    _health: health.Health
    _maintenance: Maintenance
    _feeds: Feeds
    _grpc: grpc.aio.Server
    _stack: AsyncExitStack

    async def stop(self, *, grace_seconds: float | None = None) -> None:
        """Refuse new calls, let open ones end for a while, then close everything. Idempotent."""
        grace = self.config.grace_seconds if grace_seconds is None else grace_seconds
        self._health.shut_down()
        # Those who follow a run hear of it, instead of being waited for.
        self._maintenance.storage.stop.set()
        # Those who watch come back to the next server; waiting for them would last as long as the grace.
        await self._feeds.close()
        # gRPC's own way to stop would take no more calls at all, not even for health.
        await self._guard.drain(grace)
        await self._grpc.stop(min(grace, LAST_ANSWERS_SECONDS))
        await self._stack.aclose()


@dataclass(frozen=True, slots=True)
class _Opened:
    """The database, and what hears of its commits."""

    database: Database
    head: Head
    memo: Memo
    logins: Logins
    feeds: Feeds
    first_token: str


async def start(config: Config) -> Server:
    """Build and start a server; what was opened is closed again when a part fails.

    Raises:
        DirectoryInUse: another server runs on the data directory, or on the database.
        RestoreUnfinished: a restore into the data directory was broken off.
        SchemaTooNew: a newer server has changed the database.
        ConfigError: the file of identity providers is not good.
        CannotListen: the address of gRPC or metrics cannot be listened on, or a certificate not be used.
        OSError, sqlite3.DatabaseError: the data directory cannot be used.
        RegistryError: the database cannot be used.
    """
    async with AsyncExitStack() as stack:
        certificates = _certificates(config)
        issuers = _issuers(config)
        hold = await _alone(config, stack)
        store = LocalStore(config.data_dir / "blobs")
        stack.callback(store.close)
        opened = await _open(config, stack, issuers=issuers)
        metrics = _metrics(config, stack)
        log_in = opened.logins.caller if config.auth != "none" else admit.stated
        denials = Denials(opened.database)
        stack.push_async_callback(denials.close)
        guard = Guard(
            _edge_limits(config),
            metrics=metrics,
            log_in=log_in,
            holds=opened.logins.holds,
            denials=denials,
        )
        threads = _threads(stack, BYTE_THREADS, name="bytes")
        maintenance = _maintenance(config, stack, database=opened.database, store=store)
        parts = Parts(
            opened.database,
            store=store,
            threads=threads,
            memo=opened.memo,
            about=About(
                _version(),
                config.request_read_seconds,
                authentication=config.auth != "none",
                issuers=issuers,
            ),
            pages=Pages(opened.head.epoch),
            maintenance=maintenance,
            feeds=opened.feeds,
            logins=opened.logins,
        )
        server = grpc.aio.server(options=OPTIONS)
        checks = services.register(server, guard, parts)
        port = _listen(server, address=config.listen, certificates=certificates)
        await server.start()
        tasks = [*_watch(parts, guard, checks, hold), *_schedule(config, maintenance)]
        tasks.append(asyncio.create_task(denials.run()))
        stack.push_async_callback(_cancel, tasks)
        return Server(
            address=_address(config.listen, port=port),
            metrics_port=metrics.port if metrics else 0,
            certificates=certificates,
            first_token=opened.first_token,
            config=config,
            issuers=issuers,
            database=opened.database,
            store=store,
            _guard=guard,
            _health=checks,
            _maintenance=maintenance,
            _feeds=opened.feeds,
            _grpc=server,
            _stack=stack.pop_all(),
        )


async def _alone(config: Config, stack: AsyncExitStack) -> Hold | None:
    """Keep other servers off the data directory and the database."""
    lock = DirectoryLock(config.data_dir)
    stack.callback(lock.close)
    require_finished(config.data_dir)
    if not config.database:
        return None
    hold = await asyncio.to_thread(_hold_alone, config.database)
    stack.callback(hold.close)
    return hold


async def _open(config: Config, stack: AsyncExitStack, *, issuers: tuple[Issuer, ...]) -> _Opened:
    """Open the database, and make sure that there is a namespace, and somebody who can administer it."""
    memo, hub, logins = Memo(enabled=not config.database), Hub(), Logins()
    if issuers:
        from steelyard_server.api.verified import Verifier

        logins.verifier = Verifier(issuers)
        stack.push_async_callback(logins.verifier.close)
    location = config.database or config.data_dir / "registry.db"
    # Answers that are out of date go before anybody hears of the change.
    database = await open_database(location, on_commit=partial(_tell, [memo, logins, hub]))
    stack.push_async_callback(database.close)
    logins.database = database
    await database.write(namespaces.ensure_default, OURSELVES)
    first_token = await _first_token(database, has_issuers=bool(issuers)) if config.auth != "none" else ""
    head = await database.read_hot(events.head)
    memo.sequence = head.sequence
    hub.tell(head.sequence)
    feeds = Feeds(database, hub, logins=logins)
    stack.push_async_callback(feeds.close)
    return _Opened(database, head=head, memo=memo, logins=logins, feeds=feeds, first_token=first_token)


def _threads(
    stack: AsyncExitStack, count: int, *, name: str, begin: Callable[[], None] | None = None
) -> ThreadPoolExecutor:
    threads = ThreadPoolExecutor(count, thread_name_prefix=name, initializer=begin)
    stack.callback(partial(threads.shutdown, wait=True, cancel_futures=True))
    return threads


def _watch(parts: Parts, guard: Guard, checks: health.Health, hold: Hold | None) -> list[asyncio.Task[None]]:
    """Begin the tasks that look after what may change by itself."""
    running = [_keep_house(parts.database, parts.store, parts.logins), _watch_seal(parts.database, checks)]
    if hold is not None:
        stop = parts.maintenance.storage.stop
        running += _watch_hold(hold, guard, checks, parts.feeds, stop=stop), parts.feeds.poll()
    return [asyncio.create_task(each) for each in running]


def _tell(listeners: list[Memo | Logins | Hub], facts: list[object]) -> None:
    for listener in listeners:
        listener.on_commit(facts)


async def _first_token(database: Database, *, has_issuers: bool) -> str:
    """Let the first admin log in and administer the registry when nobody can; empty when somebody can."""
    if await database.read(tokens.is_administered, has_issuers=has_issuers):
        return ""
    await database.write(
        grants.grant, OURSELVES, subject=tokens.FIRST_ADMIN, role=roles.ADMIN, scope=scopes.REGISTRY
    )
    secret = tokens.make()
    await database.write(
        tokens.create,
        OURSELVES,
        uid=secret.uid,
        digest=secret.digest,
        principal=tokens.FIRST_ADMIN,
        description="made at the start of the server, for nobody could administer the registry",
    )
    return secret.text


def _hold_alone(url: str) -> Hold:
    """Keep other servers off a database: they would not have the bytes that are on this disk."""
    from steelyard_server.db.postgresql_connection import Hold, conninfo_of

    held = Hold(conninfo_of(url))
    if not held.take():
        raise DirectoryInUse(
            "Another Steelyard server runs on this database. While blobs are on a local disk only one may; "
            "stop it, or choose another --database."
        )
    return held


def _maintenance(
    config: Config, stack: AsyncExitStack, *, database: Database, store: BlobStore
) -> Maintenance:
    stop = Stop()
    threads = _threads(stack, MAINTENANCE_THREADS, name="maintenance", begin=give_way)
    storage = Storage(database, store, Claims(), threads, stop)
    directory = Path(config.backup_dir) if config.backup_dir else None
    source = Source(storage, directory=directory, server_version=_version())
    maintenance = Maintenance(
        storage,
        Runs("collection", begin=Collected, work=partial(collect, storage), stop=stop),
        Runs("verification", begin=Verified, work=partial(verify, storage), stop=stop),
        Runs("backup", begin=BackedUp, work=partial(back_up, source), stop=stop),
        CollectOptions(dry_run=False, grace_seconds=int(config.gc_grace), trash_seconds=int(config.gc_trash)),
    )
    stack.push_async_callback(maintenance.close)
    return maintenance


def _schedule(config: Config, maintenance: Maintenance) -> list[asyncio.Task[None]]:
    """Begin the tasks that begin runs, as far as they are wanted."""

    def collect_garbage() -> None:
        maintenance.collections.join(maintenance.defaults, SCHEDULED)

    def verify_storage() -> None:
        before_time = int((time.time() - config.scrub_every) * 1_000_000)
        options = VerifyOptions(config.scrub_bytes_per_second, before_time)
        maintenance.verifications.join(options, SCHEDULED)

    wanted = [
        (collect_garbage, config.collect_every, config.collect_every),
        (verify_storage, config.scrub_every, config.scrub_every / SCRUB_PARTS),
    ]
    return [
        asyncio.create_task(repeat(begin, every_seconds=seconds)) for begin, every, seconds in wanted if every
    ]


def _issuers(config: Config) -> tuple[Issuer, ...]:
    if not config.oidc_issuers:
        return ()
    from steelyard_server.api import signing_keys

    found = providers.load(Path(config.oidc_issuers))
    for each in found:
        try:
            signing_keys.require_file(each)
        except ValueError as error:
            raise ConfigError(str(error)) from None
    return found


def _certificates(config: Config) -> Certificates | None:
    if not config.tls_cert:
        return None
    from steelyard_server.api.tls import Certificates, TlsFiles, TlsUnusable

    client_ca = Path(config.tls_client_ca) if config.tls_client_ca else None
    try:
        return Certificates(TlsFiles(Path(config.tls_cert), Path(config.tls_key), client_ca))
    except TlsUnusable as error:
        raise CannotListen(str(error)) from None


def _listen(server: grpc.aio.Server, *, address: str, certificates: Certificates | None) -> int:
    """Return the port that gRPC listens on."""
    try:
        if certificates is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, certificates.credentials())
    except RuntimeError:
        raise CannotListen(
            f"The server cannot listen on {address}: it is taken, or not an address of this machine. "
            "Choose another --listen."
        ) from None


def _address(listen: str, *, port: int) -> str:
    """Return where clients of this machine find a server that listens on a free port, too."""
    host, _ = split_address(listen, setting="listen")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _edge_limits(config: Config) -> EdgeLimits:
    return EdgeLimits(
        request_read_seconds=config.request_read_seconds,
        calls=config.calls_maximum,
        streams=config.streams_maximum,
        watches=config.watches_maximum,
    )


def _metrics(config: Config, stack: AsyncExitStack) -> Metrics | None:
    if not config.metrics:
        return None
    from steelyard_server.api.metrics import Metrics

    host, port = split_address(config.metrics, setting="metrics")
    try:
        metrics = Metrics(host=host, port=port)
    except OSError as error:
        raise CannotListen(
            f"Metrics cannot be served on {config.metrics}: {error.strerror}. Choose another --metrics."
        ) from None
    stack.callback(metrics.stop)
    return metrics


async def _keep_house(database: Database, store: BlobStore, logins: Logins) -> None:
    """Forget remembered answers and partial uploads whose time is over; note uses of tokens, read keys."""
    steps = (
        logins.refresh_keys,
        partial(_expire_uploads, store),
        partial(_forget_answers, database),
        logins.note_uses,
    )
    while True:
        for step in steps:
            try:
                await step()
            except Exception:  # noqa: BLE001 - a full disk, above all, must not end what makes room
                structlog.get_logger("steelyard.housekeeping").exception("housekeeping")
        await asyncio.sleep(HOUSEKEEPING_SECONDS)


async def _expire_uploads(store: BlobStore) -> None:
    oldest = time.time() - LIMITS.partial_upload_seconds
    await asyncio.to_thread(store.expire_uploads, before_time=oldest)


async def _forget_answers(database: Database) -> None:
    while await database.write(requests.expire) == requests.EXPIRED_MAXIMUM:
        pass


async def _watch_seal(database: Database, checks: health.Health) -> None:
    """Say NOT_SERVING for everything that writes once the database takes no more writes."""
    while not database.sealed:  # noqa: ASYNC110 - a thread seals it, and a second does not matter
        await asyncio.sleep(SEAL_CHECK_SECONDS)
    checks.set(["", *(f"steelyard.v1.{name}" for name in WRITING_SERVICES)], serving=False)


async def _watch_hold(hold: Hold, guard: Guard, checks: health.Health, feeds: Feeds, *, stop: Stop) -> None:
    """Take no more calls once another server has the database, as it may after a restart of that."""
    while await asyncio.to_thread(hold.keep):  # noqa: ASYNC110 - the database tells nobody
        await asyncio.sleep(HOLD_CHECK_SECONDS)
    structlog.get_logger("steelyard.database").error("Another server has the database; this one stops.")
    checks.shut_down()
    stop.set()
    await feeds.close()
    await guard.drain(0)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _version() -> str:
    try:
        return version("steelyard-server")
    except PackageNotFoundError:
        return "unknown"
