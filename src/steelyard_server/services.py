"""Which services there are: what they are made of, and how gRPC comes to serve them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from steelyard.v1 import (
    access_service_pb2,
    alias_service_pb2,
    blob_service_pb2,
    environment_service_pb2,
    event_service_pb2,
    maintenance_service_pb2,
    model_service_pb2,
    namespace_service_pb2,
    policy_service_pb2,
    promotion_service_pb2,
    server_service_pb2,
    version_service_pb2,
)
from steelyard_server.api import health, reflection
from steelyard_server.api.access_service import AccessService
from steelyard_server.api.alias_service import AliasService
from steelyard_server.api.blob_service import BlobService
from steelyard_server.api.environment_service import EnvironmentService
from steelyard_server.api.event_service import EventService
from steelyard_server.api.maintenance_service import MaintenanceService
from steelyard_server.api.model_service import ModelService
from steelyard_server.api.namespace_service import NamespaceService
from steelyard_server.api.policy_service import PolicyService
from steelyard_server.api.promotion_service import PromotionService
from steelyard_server.api.server_service import ServerService
from steelyard_server.api.version_service import VersionService

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    import grpc.aio
    from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor

    from steelyard_server.api.feeds import Feeds
    from steelyard_server.api.guard import Guard
    from steelyard_server.api.logins import Logins
    from steelyard_server.api.memo import Memo
    from steelyard_server.api.pages import Pages
    from steelyard_server.api.server_service import About
    from steelyard_server.backups.write import BackedUp, BackupOptions
    from steelyard_server.blobs.store import BlobStore
    from steelyard_server.db.database import Database
    from steelyard_server.maintenance.collect import Collected, CollectOptions
    from steelyard_server.maintenance.runs import Runs
    from steelyard_server.maintenance.storage import Storage
    from steelyard_server.maintenance.verify import Verified, VerifyOptions


@dataclass(frozen=True, slots=True)
class Maintenance:
    """The runs of a server, and what they work on."""

    storage: Storage
    collections: Runs[CollectOptions, Collected]
    verifications: Runs[VerifyOptions, Verified]
    backups: Runs[BackupOptions, BackedUp]
    defaults: CollectOptions

    async def close(self) -> None:
        """Ask runs to end, and wait until they and all uploads that are being recorded have."""
        self.storage.stop.set()
        for runs in (self.collections, self.verifications, self.backups):
            await runs.close()
        await self.storage.claims.close()


@dataclass(frozen=True, slots=True)
class Parts:
    """What services are made of."""

    database: Database
    store: BlobStore
    threads: ThreadPoolExecutor
    memo: Memo
    about: About
    pages: Pages
    maintenance: Maintenance
    feeds: Feeds
    logins: Logins


def register(server: grpc.aio.Server, guard: Guard, parts: Parts) -> health.Health:
    """Let *server* serve all services, those of gRPC itself too, and return what tells their health."""
    services = {_descriptor(file): service for file, service in _services(parts)}
    names = [descriptor.full_name for descriptor in services]
    checks = health.Health()
    checks.set(["", *names], serving=True)
    handlers = [guard.handlers(descriptor, service) for descriptor, service in services.items()]
    handlers.append(guard.handlers(health.DESCRIPTOR, checks))
    described = reflection.Reflection([*names, health.DESCRIPTOR.full_name, *reflection.NAMES])
    handlers += [guard.handlers(reflection.DESCRIPTOR, described, name=name) for name in reflection.NAMES]
    # Only generic handlers: since grpcio 1.84 each registered method slows down every call.
    server.add_generic_rpc_handlers(tuple(handlers))
    return checks


def _services(parts: Parts) -> list[tuple[FileDescriptor, object]]:
    """Return each service with the file that describes it and nothing else that is served."""
    database, pages, maintenance = parts.database, parts.pages, parts.maintenance
    store, threads, claims = parts.store, parts.threads, maintenance.storage.claims
    return [
        (server_service_pb2.DESCRIPTOR, ServerService(database, about=parts.about)),
        (namespace_service_pb2.DESCRIPTOR, NamespaceService(database, pages=pages)),
        (model_service_pb2.DESCRIPTOR, ModelService(database, pages=pages)),
        (
            version_service_pb2.DESCRIPTOR,
            VersionService(database, store=store, threads=threads, memo=parts.memo, pages=pages),
        ),
        (alias_service_pb2.DESCRIPTOR, AliasService(database, pages=pages)),
        (blob_service_pb2.DESCRIPTOR, BlobService(database, store=store, claims=claims, threads=threads)),
        (
            maintenance_service_pb2.DESCRIPTOR,
            MaintenanceService(
                database,
                store=store,
                collections=maintenance.collections,
                verifications=maintenance.verifications,
                backups=maintenance.backups,
                defaults=maintenance.defaults,
            ),
        ),
        (
            event_service_pb2.DESCRIPTOR,
            EventService(database, pages=pages, feeds=parts.feeds, logins=parts.logins),
        ),
        (access_service_pb2.DESCRIPTOR, AccessService(database, pages=pages, about=parts.about)),
        (policy_service_pb2.DESCRIPTOR, PolicyService(database)),
        (
            promotion_service_pb2.DESCRIPTOR,
            PromotionService(database, store=store, threads=threads, pages=pages),
        ),
        (environment_service_pb2.DESCRIPTOR, EnvironmentService(database, pages=pages)),
    ]


def _descriptor(file: FileDescriptor) -> ServiceDescriptor:
    (found,) = file.services_by_name.values()
    return found
