"""VersionService: translate, call, translate. The most asked, GetVersion, answers from the memo."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from steelyard.v1 import version_service_pb2 as pb
from steelyard_server.api import convert, convert_content, pages, read_file, read_files
from steelyard_server.api.transact import mutate, observe
from steelyard_server.core import files, manifest, versions
from steelyard_server.errors import BlobCorrupt, BlobLost

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

    from steelyard_server.api.call import Call, Stream
    from steelyard_server.api.memo import Memo
    from steelyard_server.blobs.store import BlobStore
    from steelyard_server.core.manifest import Manifest
    from steelyard_server.core.versions import Version
    from steelyard_server.db.database import Database

# Above this many files the manifest is built in a thread, for it takes milliseconds.
FILES_INLINE_MAXIMUM = 64


class VersionService:
    """Serve versions from the database and their bytes from the blob store.

    Args:
        threads: where bytes are read and checked.
    """

    def __init__(self, database: Database, *, store: BlobStore, threads: Executor, memo: Memo) -> None:
        self._database = database
        self._store = store
        self._threads = threads
        self._memo = memo

    async def CreateVersion(self, request: pb.CreateVersionRequest, call: Call) -> bytes:
        """Append a version."""
        rehearsal = request.validate_only

        def answer(result: tuple[Version, bool, int]) -> pb.CreateVersionResponse:
            created, new, sequence = result
            version = convert.version(created)
            if rehearsal and new:
                version.number, version.uid, version.etag, sequence = 0, "", "", 0
            return pb.CreateVersionResponse(version=version, created=new, sequence=sequence)

        draft = versions.Draft(
            description=request.description,
            labels=dict(request.labels),
            semantic_version=request.semantic_version,
            idempotency_key=request.idempotency_key,
        )
        return await mutate(
            self._database,
            call,
            request,
            versions.create,
            answer,
            validate_only=rehearsal,
            model=request.model,
            built=await _build(request),
            draft=draft,
        )

    async def GetVersion(self, request: pb.GetVersionRequest, _: Call) -> bytes:
        """Answer one version, from the memo when it was asked before."""
        read_time = convert.read_time(request)
        key = request.version.SerializeToString()
        if read_time is None and 0 <= request.minimum_sequence <= self._memo.sequence:
            remembered = self._memo.find(key)
            if remembered is not None:
                return remembered + _sequence(self._memo.sequence)
        found, sequence = await observe(
            self._database,
            versions.get,
            minimum_sequence=request.minimum_sequence,
            hot=True,
            reference=convert.reference(request.version),
            read_time=read_time,
        )
        answer = pb.GetVersionResponse(version=convert.version(found)).SerializeToString()
        if read_time is None:
            self._memo.keep(key, answer, model_uid=found.model_uid, sequence=sequence)
        return answer + _sequence(sequence)

    async def BatchGetVersions(
        self, request: pb.BatchGetVersionsRequest, _: Call
    ) -> pb.BatchGetVersionsResponse:
        """Answer versions of one namespace from one moment."""
        wanted = [
            convert.reference(message, field=f"versions[{index}]")
            for index, message in enumerate(request.versions)
        ]
        found, sequence = await observe(
            self._database,
            versions.batch_get,
            minimum_sequence=request.minimum_sequence,
            namespace=request.namespace,
            wanted=wanted,
        )
        return pb.BatchGetVersionsResponse(
            versions=[convert.version(each) for each in found], sequence=sequence
        )

    async def ListVersions(self, request: pb.ListVersionsRequest, _: Call) -> pb.ListVersionsResponse:
        """Answer a page of versions."""
        query = ("versions", request.model, request.filter, request.order_by)
        (found, position), sequence = await observe(
            self._database,
            versions.page,
            minimum_sequence=request.minimum_sequence,
            model=request.model,
            filter=request.filter,
            order_by=request.order_by,
            after=pages.decode(query, request.page_token, list),
            page_size=request.page_size,
        )
        return pb.ListVersionsResponse(
            versions=[convert.version(each) for each in found],
            next_page_token=pages.encode(query, position) if position else "",
            sequence=sequence,
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

    async def GetManifest(self, request: pb.GetManifestRequest, _: Call) -> pb.GetManifestResponse:
        """Answer the canonical JSON of a version."""
        (number, digest, content), sequence = await observe(
            self._database,
            versions.read_manifest,
            minimum_sequence=request.minimum_sequence,
            reference=convert.reference(request.version),
        )
        return pb.GetManifestResponse(manifest=content, digest=digest, number=number, sequence=sequence)

    async def ListFiles(self, request: pb.ListFilesRequest, _: Call) -> pb.ListFilesResponse:
        """Answer a page of files."""
        reference = convert.reference(request.version)
        query = ("files", reference.model, reference.kind, reference.value)
        # The token names the version too: an alias may move between two pages.
        begun, _slash, after_path = (pages.decode(query, request.page_token, str) or "").partition("/")
        if begun:
            reference = replace(reference, kind="number", value=pages.number(begun))
        (found, more, number, digest), sequence = await observe(
            self._database,
            files.page,
            minimum_sequence=request.minimum_sequence,
            reference=reference,
            after_path=after_path,
            page_size=request.page_size,
        )
        return pb.ListFilesResponse(
            files=[convert_content.file_message(each) for each in found],
            next_page_token=pages.encode(query, f"{number}/{found[-1].path}") if more else "",
            number=number,
            digest=digest,
            sequence=sequence,
        )

    async def ReadFile(self, request: pb.ReadFileRequest, _: Call, stream: Stream) -> None:
        """Stream the bytes of a file."""
        with self._noting_damage():
            await read_file.stream_file(
                request, stream, database=self._database, blobs=self._store, threads=self._threads
            )

    async def ReadFiles(self, request: pb.ReadFilesRequest, _: Call, stream: Stream) -> None:
        """Stream the bytes of several files."""
        with self._noting_damage():
            await read_files.stream_files(
                request, stream, database=self._database, blobs=self._store, threads=self._threads
            )

    @contextmanager
    def _noting_damage(self) -> Iterator[None]:
        try:
            yield
        except (BlobCorrupt, BlobLost) as error:
            self._store.note_damage(error.metadata["digest"])
            raise


async def _build(request: pb.CreateVersionRequest) -> Manifest:
    if len(request.content.files) <= FILES_INLINE_MAXIMUM:
        return manifest.build(convert_content.from_message(request.content))
    return await asyncio.to_thread(lambda: manifest.build(convert_content.from_message(request.content)))


def _sequence(value: int) -> bytes:
    """Encode the field `sequence` of GetVersionResponse, to be put behind an encoded answer."""
    return pb.GetVersionResponse(sequence=value).SerializeToString()
