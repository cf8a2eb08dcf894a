"""VersionService: translate, call, translate. The most asked, GetVersion, answers from the memo."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from steelyard.v1 import version_pb2
from steelyard.v1 import version_service_pb2 as pb
from steelyard_server.api import (
    convert,
    convert_comparison,
    convert_content,
    convert_evaluation,
    pages,
    read_file,
    read_files,
)
from steelyard_server.api.transact import mutate, observe
from steelyard_server.core import (
    batches,
    comparisons,
    copies,
    deletions,
    evaluations,
    files,
    manifest,
    versions,
)
from steelyard_server.core.drafts import Draft
from steelyard_server.errors import ResourceMismatch

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Executor

    from steelyard_server.api.call import Call, Stream
    from steelyard_server.api.memo import Memo
    from steelyard_server.api.pages import Pages
    from steelyard_server.blobs.store import BlobStore
    from steelyard_server.core.batches import Batch, Member
    from steelyard_server.core.evaluations import Recorded
    from steelyard_server.core.manifest import Manifest
    from steelyard_server.core.references import Reference
    from steelyard_server.core.versions import Outcome, Version
    from steelyard_server.db.database import Database

# Above this size the manifest is built in a thread, for it takes milliseconds.
INLINE_BYTES_MAXIMUM = 16 * 1024


class VersionService:
    """Serve versions from the database and their bytes from the blob store.

    Args:
        threads: where bytes are read and checked.
    """

    def __init__(
        self, database: Database, *, store: BlobStore, threads: Executor, memo: Memo, pages: Pages
    ) -> None:
        self._database = database
        self._pages = pages
        self._store = store
        self._threads = threads
        self._memo = memo

    async def CreateVersion(self, request: pb.CreateVersionRequest, call: Call) -> bytes:
        """Append a version."""

        def answer(outcome: Outcome) -> pb.CreateVersionResponse:
            version, sequence = _appended(outcome, rehearsal=request.validate_only)
            return pb.CreateVersionResponse(version=version, created=outcome.created, sequence=sequence)

        return await mutate(
            self._database,
            call,
            request,
            versions.create,
            answer,
            validate_only=request.validate_only,
            model=request.model,
            built=await _build(request),
            draft=_draft(request),
        )

    async def BatchCreateVersions(self, request: pb.BatchCreateVersionsRequest, call: Call) -> bytes:
        """Append versions to one model."""

        def answer(batch: Batch) -> pb.BatchCreateVersionsResponse:
            rehearsal = request.validate_only
            return pb.BatchCreateVersionsResponse(
                versions=[_member(each, rehearsal=rehearsal) for each in batch.members],
                sequence=0 if rehearsal and batch.changed else batch.sequence,
            )

        return await mutate(
            self._database,
            call,
            request,
            batches.create,
            answer,
            validate_only=request.validate_only,
            model=request.model,
            wishes=await asyncio.to_thread(_wishes, request),
        )

    async def GetVersion(self, request: pb.GetVersionRequest, call: Call) -> bytes:
        """Answer one version, from the memo when it was asked before."""
        read_time = convert.read_time(request)
        reference = convert.reference(request.version)
        now = read_time is None
        # A commit that the memo has not heard of may be seen by others already.
        if now and self._database.settled and 0 <= request.minimum_sequence <= self._memo.sequence:
            remembered = self._memo.find(reference)
            if remembered is not None:
                return remembered + _sequence(self._memo.sequence)
        found, sequence = await observe(
            self._database,
            call,
            versions.get,
            minimum_sequence=request.minimum_sequence,
            hot=now,
            reference=reference,
            read_time=read_time,
        )
        answer = pb.GetVersionResponse(version=convert.version(found)).SerializeToString()
        if now:
            self._memo.keep(reference, answer, model_uid=found.model_uid, sequence=sequence)
        return answer + _sequence(sequence)

    async def BatchGetVersions(
        self, request: pb.BatchGetVersionsRequest, call: Call
    ) -> pb.BatchGetVersionsResponse:
        """Answer versions of one namespace from one moment."""
        found, sequence = await observe(
            self._database,
            call,
            versions.batch_get,
            minimum_sequence=request.minimum_sequence,
            filtered=True,
            namespace=request.namespace,
            wanted=_references(request.versions),
        )
        return pb.BatchGetVersionsResponse(
            versions=[convert.version(each) for each in found], sequence=sequence
        )

    async def ListVersions(self, request: pb.ListVersionsRequest, call: Call) -> pb.ListVersionsResponse:
        """Answer a page of versions."""
        query = ("versions", request.model, request.filter, request.order_by, request.show_deleted)
        page, sequence = await observe(
            self._database,
            call,
            versions.page,
            minimum_sequence=request.minimum_sequence,
            filtered=True,
            model=request.model,
            filter=request.filter,
            order_by=request.order_by,
            after=self._pages.decode(query, request.page_token, list),
            page_size=request.page_size,
            show_deleted=request.show_deleted,
        )
        return pb.ListVersionsResponse(
            versions=[convert.version(each) for each in page.entries],
            next_page_token=self._pages.encode(query, page.position) if page.position else "",
            sequence=sequence,
            order_values=page.order_values,
            absent_fields=map(convert.absent_field, page.absent_fields),
        )

    async def UpdateVersion(self, request: pb.UpdateVersionRequest, call: Call) -> bytes:
        """Change description or labels."""

        def answer(changed: Version) -> pb.UpdateVersionResponse:
            return pb.UpdateVersionResponse(version=convert.version(changed), sequence=changed.sequence)

        return await mutate(
            self._database,
            call,
            request,
            versions.modify,
            answer,
            reference=convert.reference(request.version),
            description=request.description,
            labels=dict(request.labels),
            mask=convert.mask(request.update_mask, present=request.HasField("update_mask")),
            etag=request.etag,
        )

    async def DeleteVersion(self, request: pb.DeleteVersionRequest, call: Call) -> bytes:
        """Delete a version softly."""

        def answer(deleted: Version) -> pb.DeleteVersionResponse:
            version, sequence = convert.version(deleted), deleted.sequence
            if request.validate_only:
                version.etag, sequence = "", 0
            return pb.DeleteVersionResponse(version=version, sequence=sequence)

        return await mutate(
            self._database,
            call,
            request,
            deletions.remove,
            answer,
            validate_only=request.validate_only,
            reference=convert.reference(request.version),
            etag=request.etag,
        )

    async def UndeleteVersion(self, request: pb.UndeleteVersionRequest, call: Call) -> bytes:
        """Bring a deleted version back."""

        def answer(restored: Version) -> pb.UndeleteVersionResponse:
            version, sequence = convert.version(restored), restored.sequence
            if request.validate_only:
                version.etag, sequence = "", 0
            return pb.UndeleteVersionResponse(version=version, sequence=sequence)

        return await mutate(
            self._database,
            call,
            request,
            deletions.restore,
            answer,
            validate_only=request.validate_only,
            reference=convert.reference(request.version),
            etag=request.etag,
        )

    async def PurgeVersion(self, request: pb.PurgeVersionRequest, call: Call) -> bytes:
        """End a deleted version for good."""

        def answer(purged: deletions.Purged) -> pb.PurgeVersionResponse:
            sequence = 0 if request.validate_only else purged.sequence
            return pb.PurgeVersionResponse(number=purged.number, digest=purged.digest, sequence=sequence)

        return await mutate(
            self._database,
            call,
            request,
            deletions.purge,
            answer,
            validate_only=request.validate_only,
            reference=convert.reference(request.version),
            etag=request.etag,
        )

    async def CopyVersion(self, request: pb.CopyVersionRequest, call: Call) -> bytes:
        """Append a copy of a version, also of another namespace."""

        def answer(outcome: Outcome) -> pb.CopyVersionResponse:
            version, sequence = _appended(outcome, rehearsal=request.validate_only)
            return pb.CopyVersionResponse(version=version, created=outcome.created, sequence=sequence)

        return await mutate(
            self._database,
            call,
            request,
            copies.copy,
            answer,
            validate_only=request.validate_only,
            source=convert.reference(request.source, field="source"),
            model=request.model,
            semantic_version=request.semantic_version,
        )

    async def CompareVersions(
        self, request: pb.CompareVersionsRequest, call: Call
    ) -> pb.CompareVersionsResponse:
        """Answer what differs between versions."""
        compared, sequence = await observe(
            self._database,
            call,
            comparisons.compare,
            minimum_sequence=request.minimum_sequence,
            filtered=True,
            namespace=request.namespace,
            wanted=_references(request.versions),
            selectors=[
                comparisons.MetricSelector(each.name, each.dataset, each.slice) for each in request.metrics
            ],
        )
        return pb.CompareVersionsResponse(
            comparison=convert_comparison.comparison(compared), sequence=sequence
        )

    async def RecordEvaluation(self, request: pb.RecordEvaluationRequest, call: Call) -> bytes:
        """Append an evaluation."""

        def answer(recorded: Recorded) -> pb.RecordEvaluationResponse:
            return pb.RecordEvaluationResponse(
                evaluation=convert_evaluation.evaluation(recorded.evaluation),
                sequence=recorded.sequence,
                created=recorded.created,
            )

        return await mutate(
            self._database,
            call,
            request,
            evaluations.record,
            answer,
            reference=convert.reference(request.version),
            draft=convert_evaluation.draft(request.evaluation),
        )

    async def ListEvaluations(
        self, request: pb.ListEvaluationsRequest, call: Call
    ) -> pb.ListEvaluationsResponse:
        """Answer a page of evaluations."""
        reference = convert.reference(request.version)
        query = ("evaluations", reference.model, reference.kind, reference.value)
        begun, before = convert_evaluation.position(self._pages.decode(query, request.page_token, str))
        if begun is not None:
            reference = replace(reference, kind="number", value=begun)
        (found, more, number), sequence = await observe(
            self._database,
            call,
            evaluations.page,
            minimum_sequence=request.minimum_sequence,
            reference=reference,
            before=before,
            page_size=request.page_size,
        )
        last = convert_evaluation.position_text(number, found[-1]) if more else ""
        return pb.ListEvaluationsResponse(
            evaluations=[convert_evaluation.evaluation(each) for each in found],
            next_page_token=self._pages.encode(query, last) if more else "",
            sequence=sequence,
        )

    async def GetManifest(self, request: pb.GetManifestRequest, call: Call) -> pb.GetManifestResponse:
        """Answer the canonical JSON of a version."""
        (number, digest, content), sequence = await observe(
            self._database,
            call,
            versions.read_manifest,
            minimum_sequence=request.minimum_sequence,
            reference=convert.reference(request.version),
        )
        return pb.GetManifestResponse(manifest=content, digest=digest, number=number, sequence=sequence)

    async def ListFiles(self, request: pb.ListFilesRequest, call: Call) -> pb.ListFilesResponse:
        """Answer a page of files."""
        reference = convert.reference(request.version)
        query = ("files", reference.model, reference.kind, reference.value)
        # The token names the version too: an alias may move between two pages.
        begun, _slash, after_path = (self._pages.decode(query, request.page_token, str) or "").partition("/")
        if begun:
            reference = replace(reference, kind="number", value=pages.number(begun))
        (found, more, number, digest), sequence = await observe(
            self._database,
            call,
            files.page,
            minimum_sequence=request.minimum_sequence,
            reference=reference,
            after_path=after_path,
            page_size=request.page_size,
        )
        return pb.ListFilesResponse(
            files=[convert_content.file_message(each) for each in found],
            next_page_token=self._pages.encode(query, f"{number}/{found[-1].path}") if more else "",
            number=number,
            digest=digest,
            sequence=sequence,
        )

    async def ReadFile(self, request: pb.ReadFileRequest, call: Call, stream: Stream) -> None:
        """Stream the bytes of a file."""
        await read_file.stream_file(
            request, call, stream, database=self._database, blobs=self._store, threads=self._threads
        )

    async def ReadFiles(self, request: pb.ReadFilesRequest, call: Call, stream: Stream) -> None:
        """Stream the bytes of several files."""
        await read_files.stream_files(
            request, call, stream, database=self._database, blobs=self._store, threads=self._threads
        )


def _references(messages: Iterable[version_pb2.VersionRef]) -> list[Reference]:
    return [convert.reference(message, field=f"versions[{index}]") for index, message in enumerate(messages)]


def _appended(outcome: Outcome, *, rehearsal: bool) -> tuple[version_pb2.Version, int]:
    """Turn what a create did into version and sequence, without what only a commit gives."""
    version = convert.version(outcome.version)
    if not (rehearsal and outcome.changed):
        return version, outcome.sequence
    version.etag = ""
    version.ClearField("update_time")
    if outcome.created:
        version.number, version.uid = 0, ""
        version.ClearField("create_time")
        version.ClearField("import_time")
    return version, 0


def _draft(request: pb.CreateVersionRequest, *, prefix: str = "") -> Draft:
    """Read what is asked for beside the content; *prefix* leads to it."""
    return Draft(
        description=request.description,
        labels=dict(request.labels),
        semantic_version=request.semantic_version,
        idempotency_key=request.idempotency_key,
        origin=convert.stated_origin(request, field=f"{prefix}origin"),
        number=request.number,
        digest=request.digest,
    )


def _wishes(batch: pb.BatchCreateVersionsRequest) -> list[batches.Wish]:
    """Read the requests of a batch.

    Raises:
        ResourceMismatch: one of them has what belongs to the whole batch.
    """
    wishes = []
    for index, request in enumerate(batch.requests):
        field = f"requests[{index}]"
        if request.model not in {"", batch.model}:
            raise ResourceMismatch(f"`{field}.model` is not that of the batch.", field=f"{field}.model")
        if request.validate_only or request.request_id or request.reason:
            message = f"`{field}` sets validate_only, request_id or reason; set them on the batch."
            raise ResourceMismatch(message, field=field)
        built = manifest.build(convert_content.from_message(request.content))
        wishes.append(batches.Wish(built, _draft(request, prefix=f"{field}.")))
    return wishes


def _member(member: Member, *, rehearsal: bool) -> pb.CreatedVersion:
    uid = "" if rehearsal and member.created else member.uid
    return pb.CreatedVersion(number=member.number, digest=member.digest, uid=uid, created=member.created)


async def _build(request: pb.CreateVersionRequest) -> Manifest:
    if request.content.ByteSize() <= INLINE_BYTES_MAXIMUM:
        return manifest.build(convert_content.from_message(request.content))
    return await asyncio.to_thread(lambda: manifest.build(convert_content.from_message(request.content)))


def _sequence(value: int) -> bytes:
    """Encode the field `sequence` of GetVersionResponse, to be put behind an encoded answer."""
    return pb.GetVersionResponse(sequence=value).SerializeToString()
