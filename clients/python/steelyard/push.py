"""``Client.push``: the bytes of local files go to the server; what it has is not sent again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steelyard.digests import digest_of
from steelyard.errors import FileChanged
from steelyard.reasons import QuotaExceeded
from steelyard.upload import SMALL_BYTES, Upload, send
from steelyard.v1 import blob_service_pb2 as pb

if TYPE_CHECKING:
    from steelyard.capture import Capture
    from steelyard.connection import Connection
    from steelyard.digests import DigestCache
    from steelyard.scan import LocalFile
    from steelyard.transfer import Transfer
    from steelyard.types import Version

HASH_THREADS = 4


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push did.

    Args:
        created: False when the model had this content already.
        model_created: whether the model was made too.
        uploaded_bytes: that went over the wire.
        excluded: paths that were left out.
        captured: what was recorded beside what the caller stated; None when that was not wanted.
    """

    version: Version
    created: bool
    model_created: bool
    uploaded_bytes: int
    excluded: tuple[str, ...]
    captured: Capture | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes that the server has: the digest of each file by its path, and what it took to get there."""

    digests: dict[str, str]
    uploaded_bytes: int


def store(
    files: tuple[LocalFile, ...],
    *,
    namespace: str,
    cache: DigestCache,
    transfer: Transfer,
    versions_count: int = 0,
) -> Stored:
    """Make the server hold the bytes of all files, reading and sending as little as may be.

    A file whose digest is not remembered is hashed first only where the namespace holds a blob of its
    size; any other cannot be a duplicate and is hashed while it is sent.

    Args:
        versions_count: that are to be made of these files, if they are new.

    Raises:
        FileChanged, FileUnreadable: a file is not what was found.
        QuotaExceeded: the namespace has no room for what is new; nothing was sent.
    """
    connection = transfer.connection
    digests = cache.find(files)
    held_sizes = _held_sizes(files, connection=connection, namespace=namespace)
    to_hash = [
        file
        for file in files
        if file.path not in digests and (file.size_bytes <= SMALL_BYTES or file.size_bytes in held_sizes)
    ]
    digests |= _hash(to_hash, transfer=transfer)
    uploads = [Upload(file, digests.get(file.path, "")) for file in files]
    uploads, answer = missing(uploads, connection=connection, namespace=namespace)
    unhashed = [upload.file for upload in uploads if not upload.digest]
    if unhashed and _excess_bytes(uploads, answer) > 0:
        # Some of them may be the same, and count once.
        digests |= _hash(unhashed, transfer=transfer)
        uploads = [Upload(file, digests[file.path]) for file in files]
        uploads, answer = missing(uploads, connection=connection, namespace=namespace)
    _require_room(uploads, answer, namespace=namespace, versions_count=versions_count)
    try:
        send(uploads, namespace=namespace, transfer=transfer)
    except FileChanged:
        # Perhaps it did so long ago, and only its digest was remembered.
        for file in files:
            cache.forget(file)
        raise
    for file in files:
        file.require_unchanged()
    digests |= {upload.file.path: upload.digest for upload in uploads}
    cache.keep((file, digests[file.path]) for file in files)
    return Stored(digests, sum(upload.sent_bytes for upload in uploads))


def _held_sizes(files: Iterable[LocalFile], *, connection: Connection, namespace: str) -> set[int]:
    sizes = {file.size_bytes for file in files if file.size_bytes > SMALL_BYTES}
    request = pb.FindMissingBlobsRequest(namespace=namespace, sizes_bytes=sorted(sizes))
    answer = connection.ask("BlobService/FindMissingBlobs", request, pb.FindMissingBlobsResponse)
    return set(answer.held_sizes_bytes)


def _hash(files: list[LocalFile], *, transfer: Transfer) -> dict[str, str]:
    meter = transfer.meter("hash", total_bytes=sum(file.size_bytes for file in files))
    found: dict[str, str] = {}

    def task(group: list[LocalFile]) -> None:
        for file in group:
            found[file.path] = digest_of(file, meter=meter)

    groups = [group for start in range(HASH_THREADS) if (group := files[start::HASH_THREADS])]
    transfer.run(task, groups, threads=HASH_THREADS)
    return found


def missing(
    uploads: list[Upload], *, connection: Connection, namespace: str
) -> tuple[list[Upload], pb.FindMissingBlobsResponse]:
    """Return what the namespace does not hold, each digest once, and what the server said."""
    known = {upload.digest: upload.file.size_bytes for upload in uploads if upload.digest}
    keys = [pb.BlobKey(digest=digest, size_bytes=size_bytes) for digest, size_bytes in known.items()]
    request = pb.FindMissingBlobsRequest(namespace=namespace, blobs=keys)
    answer = connection.ask("BlobService/FindMissingBlobs", request, pb.FindMissingBlobsResponse)
    digests = {blob.digest for blob in answer.missing}
    chosen = {upload.digest: upload for upload in uploads if upload.digest in digests}
    return [*chosen.values(), *(upload for upload in uploads if not upload.digest)], answer


def _excess_bytes(uploads: list[Upload], answer: pb.FindMissingBlobsResponse) -> int:
    """Return by how much the files are too large for the quota; 0 or less when they fit."""
    if not answer.HasField("available_bytes"):
        return 0
    return sum(upload.file.size_bytes for upload in uploads) - answer.available_bytes


def _require_room(
    uploads: list[Upload], answer: pb.FindMissingBlobsResponse, *, namespace: str, versions_count: int
) -> None:
    """Refuse before the first byte what the server would refuse after some of them."""
    if _excess_bytes(uploads, answer) > 0:
        size_bytes = sum(upload.file.size_bytes for upload in uploads)
        raise QuotaExceeded(
            f"The files that are new have {size_bytes} bytes, and the quota of the namespace {namespace} "
            f"leaves {answer.available_bytes}. Purge versions that nobody needs and collect garbage, or have "
            "the quota raised.",
            metadata={"namespace": namespace, "quota": "size_bytes", "asked": str(size_bytes)},
        )
    if uploads and answer.HasField("available_versions_count"):
        if versions_count <= answer.available_versions_count:
            return
        raise QuotaExceeded(
            f"The quota of the namespace {namespace} leaves no room for another version, deleted ones "
            "included. Purge versions that nobody needs, or have the quota raised.",
            metadata={"namespace": namespace, "quota": "versions_count", "asked": str(versions_count)},
        )
