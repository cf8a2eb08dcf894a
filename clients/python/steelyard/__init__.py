"""Client of Steelyard, a model registry that is one gRPC service.

    with steelyard.Client("localhost:7433") as client:
        pushed = client.push("fraud", "model/", metrics={"precision@holdout": 0.93}, alias="champion")
        client.pull("fraud@champion", "copy/")

Names are loaded when they are first used, so that importing this package costs little.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# Read by gRPC's core once, when it is loaded: makes channels usable in a process that is forked later.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")

if TYPE_CHECKING:
    from steelyard import errors, reasons
    from steelyard.aio import AsyncClient
    from steelyard.allocator import tune_allocator
    from steelyard.bundle.contents import Bundle
    from steelyard.bundle.export import ExportResult
    from steelyard.bundle.importing import ImportResult
    from steelyard.capture import Capture
    from steelyard.client import Client
    from steelyard.comparison import Comparison
    from steelyard.content import Dataset, Framework, Parent, Reference, Schema, SchemaField, Source
    from steelyard.environments import Environment
    from steelyard.errors import SteelyardError
    from steelyard.events import EventWatch
    from steelyard.maintenance import (
        Backup,
        ExpiredVersions,
        GarbageCollection,
        StorageProblem,
        StorageUsage,
        StorageVerification,
    )
    from steelyard.progress import Progress
    from steelyard.pull import PullResult
    from steelyard.push import PushResult
    from steelyard.types import (
        Alias,
        AliasMove,
        Evaluation,
        Event,
        File,
        Model,
        Namespace,
        NamespaceUsage,
        Quota,
        Retention,
        Version,
    )
    from steelyard.verify import VerifyResult
    from steelyard.workers import Stop

_HOMES = {
    "steelyard.aio": ("AsyncClient",),
    "steelyard.allocator": ("tune_allocator",),
    "steelyard.bundle.contents": ("Bundle",),
    "steelyard.bundle.export": ("ExportResult",),
    "steelyard.bundle.importing": ("ImportResult",),
    "steelyard.capture": ("Capture",),
    "steelyard.client": ("Client",),
    "steelyard.comparison": ("Comparison",),
    "steelyard.content": (
        "Dataset",
        "Framework",
        "Parent",
        "Reference",
        "Schema",
        "SchemaField",
        "Source",
    ),
    "steelyard.environments": ("Environment",),
    "steelyard.errors": ("SteelyardError",),
    "steelyard.events": ("EventWatch",),
    "steelyard.maintenance": (
        "Backup",
        "ExpiredVersions",
        "GarbageCollection",
        "StorageProblem",
        "StorageUsage",
        "StorageVerification",
    ),
    "steelyard.progress": ("Progress",),
    "steelyard.pull": ("PullResult",),
    "steelyard.push": ("PushResult",),
    "steelyard.types": (
        "Alias",
        "AliasMove",
        "Evaluation",
        "Event",
        "File",
        "Model",
        "Namespace",
        "NamespaceUsage",
        "Quota",
        "Retention",
        "Version",
    ),
    "steelyard.verify": ("VerifyResult",),
    "steelyard.workers": ("Stop",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("errors", "reasons")

__all__ = [
    "Alias",
    "AliasMove",
    "AsyncClient",
    "Backup",
    "Bundle",
    "Capture",
    "Client",
    "Comparison",
    "Dataset",
    "Environment",
    "Evaluation",
    "Event",
    "EventWatch",
    "ExpiredVersions",
    "ExportResult",
    "File",
    "Framework",
    "GarbageCollection",
    "ImportResult",
    "Model",
    "Namespace",
    "NamespaceUsage",
    "Parent",
    "Progress",
    "PullResult",
    "PushResult",
    "Quota",
    "Reference",
    "Retention",
    "Schema",
    "SchemaField",
    "Source",
    "SteelyardError",
    "Stop",
    "StorageProblem",
    "StorageUsage",
    "StorageVerification",
    "VerifyResult",
    "Version",
    "errors",
    "reasons",
    "tune_allocator",
]


def __getattr__(name: str) -> Any:
    """Load the module that has *name*."""
    if name in _MODULES:
        return importlib.import_module(f"steelyard.{name}")
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'steelyard' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*globals(), *__all__])
