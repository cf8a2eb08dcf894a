"""The model, versions and calls that the metadata rows work on."""

from __future__ import annotations

import hashlib
import itertools
import random
import uuid
from collections.abc import Callable

from steelyard.v1 import (
    alias_service_pb2,
    content_pb2,
    policy_pb2,
    promotion_service_pb2,
    version_pb2,
    version_service_pb2,
)

MODEL = "default/model"
ALIAS = "champion"
# An alias that a policy protects.
PROTECTED = "serving"
COMPARED = "default/compared"
COMPARED_VERSIONS = 20
SMALL_VERSIONS = 10
METRICS = ("accuracy", "precision", "recall")
FILE_BYTES = 1 << 20
CONTENTS = {f"file-{index}.bin": bytes([index]) * FILE_BYTES for index in range(3)}
FILES = {path: hashlib.sha256(data).hexdigest() for path, data in CONTENTS.items()}
TEAMS = tuple(f"team-{index}" for index in range(20))
DATASETS = tuple(f"sha256:{index:064x}" for index in range(1_000))
# Filter and order of each list that is measured.
LISTS = {
    "label": ('labels.team = "team-3"', ""),
    "metric": ("metrics.precision@holdout > 0.9", "metrics.precision@holdout desc"),
    "dataset": (f"datasets.digest = {DATASETS[7]}", ""),
    "three-terms": (
        'metrics.precision@holdout > 0.9 AND labels.team = "team-3" AND metrics.recall@holdout > 0.5',
        "metrics.recall@holdout desc",
    ),
}


def get_by_alias(model: str) -> Callable[[], bytes]:
    """Return what makes requests for the version that has the alias."""
    reference = version_pb2.VersionRef(model=model, alias=ALIAS)
    request = version_service_pb2.GetVersionRequest(version=reference).SerializeToString()
    return lambda: request


def create_version(model: str) -> Callable[[], bytes]:
    """Return what makes requests for new versions with three files and three metrics."""
    files = [
        content_pb2.File(path=path, digest=f"sha256:{digest}", size_bytes=FILE_BYTES)
        for path, digest in FILES.items()
    ]

    def make() -> bytes:
        metrics = [content_pb2.Metric(name=name, value=random.random()) for name in METRICS]  # noqa: S311
        request = version_service_pb2.CreateVersionRequest(
            model=model,
            content=content_pb2.Content(files=files, metrics=metrics),
            request_id=str(uuid.uuid4()),
        )
        return request.SerializeToString()

    return make


def move_alias(model: str) -> Callable[[], bytes]:
    """Return what makes requests that move the alias to another version each time."""
    counter = itertools.count()

    def make() -> bytes:
        number = 1 + next(counter) % SMALL_VERSIONS
        request = alias_service_pb2.SetAliasRequest(
            version=version_pb2.VersionRef(model=model, number=number),
            alias=ALIAS,
            request_id=str(uuid.uuid4()),
        )
        return request.SerializeToString()

    return make


def promote(model: str, *, after: int) -> Callable[[], bytes]:
    """Return what makes requests that promote another version each time, from that behind *after* on."""
    counter = itertools.count(after)

    def make() -> bytes:
        number = 1 + next(counter) % SMALL_VERSIONS
        request = promotion_service_pb2.CreatePromotionRequest(
            version=version_pb2.VersionRef(model=model, number=number),
            target=policy_pb2.Target(alias=PROTECTED),
            request_id=str(uuid.uuid4()),
        )
        return request.SerializeToString()

    return make


def compare_versions(_: str) -> Callable[[], bytes]:
    """Return what makes requests for a comparison of all versions to compare."""
    versions = [
        version_pb2.VersionRef(model=COMPARED, number=1 + place) for place in range(COMPARED_VERSIONS)
    ]
    request = version_service_pb2.CompareVersionsRequest(
        namespace="default", versions=versions
    ).SerializeToString()
    return lambda: request


def list_versions(name: str) -> Callable[[str], Callable[[], bytes]]:
    """Return what makes requests for the first page of the list *name*."""

    def of(model: str) -> Callable[[], bytes]:
        text, order_by = LISTS[name]
        request = version_service_pb2.ListVersionsRequest(model=model, filter=text, order_by=order_by)
        encoded = request.SerializeToString()
        return lambda: encoded

    return of
