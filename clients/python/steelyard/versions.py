"""Calls about versions; bytes go by ``Client.push`` and ``Client.pull``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steelyard import metric_keys, pages, types
from steelyard.comparison import Comparison
from steelyard.connection import new_request_id
from steelyard.content import checked_labels, require_several
from steelyard.errors import DownloadCorrupt
from steelyard.v1 import comparison_pb2
from steelyard.v1 import version_service_pb2 as pb

if TYPE_CHECKING:
    from steelyard.connection import Connection
    from steelyard.refs import References
    from steelyard.types import AbsentField, File, Version
    from steelyard.v1 import content_pb2


@dataclass(frozen=True, slots=True)
class Created:
    """What a create made; `created` is False when the model had this content already."""

    version: Version
    created: bool
    sequence: int


@dataclass(frozen=True, slots=True)
class BatchMember:
    """A version of a batch; `created` is False when the model had its content already."""

    number: int
    digest: str
    created: bool


@dataclass(frozen=True, slots=True)
class BatchCreated:
    """What became of each request of a batch, in their order."""

    versions: tuple[BatchMember, ...]
    sequence: int


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge ended, or would end; `sequence` is 0 then."""

    number: int
    digest: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The canonical JSON whose sha256 is the digest of a version."""

    encoded: bytes
    digest: str
    number: int


class Versions:
    """Create, read, change, copy and delete versions."""

    def __init__(self, connection: Connection, *, references: References) -> None:
        self._connection = connection
        self._references = references

    def create(
        self,
        model: str,
        content: content_pb2.Content,
        *,
        description: str = "",
        labels: Mapping[str, str] | None = None,
        semantic_version: str = "",
        idempotency_key: str = "",
        validate_only: bool = False,
        reason: str = "",
    ) -> Created:
        """Create a version of files that are uploaded already.

        Raises:
            BlobMissing: the namespace does not hold a file.
            ModelNotFound: there is no such model.
        """
        request = pb.CreateVersionRequest(
            model=self._references.model(model),
            content=content,
            description=description,
            labels=checked_labels(labels),
            semantic_version=semantic_version,
            idempotency_key=idempotency_key,
            validate_only=validate_only,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("VersionService/CreateVersion", request, pb.CreateVersionResponse)
        return Created(types.version(answer.version), answer.created, answer.sequence)

    def batch_create(
        self,
        model: str,
        requests: Iterable[pb.CreateVersionRequest],
        *,
        validate_only: bool = False,
        reason: str = "",
    ) -> BatchCreated:
        """Create up to 40 versions of one model, all or none; meant for imports.

        Args:
            requests: each as `create` sends it, without a model; all or none with an origin.

        Raises:
            BlobMissing: the namespace does not hold a file.
            NumberTaken: a number is not above all that were ever used.
            DigestMismatch: a content does not have its digest.
        """
        request = pb.BatchCreateVersionsRequest(
            model=self._references.model(model),
            requests=requests,
            validate_only=validate_only,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask(
            "VersionService/BatchCreateVersions", request, pb.BatchCreateVersionsResponse
        )
        members = tuple(BatchMember(each.number, each.digest, each.created) for each in answer.versions)
        return BatchCreated(members, answer.sequence)

    def get(self, ref: str | Version) -> Version:
        """Return a version.

        Raises:
            NotFound: no such model, version or alias.
            DownloadCorrupt: it has another digest than *ref*.
        """
        request = pb.GetVersionRequest(version=self._references.version(ref))
        answer = self._connection.ask("VersionService/GetVersion", request, pb.GetVersionResponse)
        expected = request.version.digest if isinstance(ref, str) else ref.digest
        if expected and answer.version.digest != expected:
            raise DownloadCorrupt(
                f"{ref} was asked for, {expected}, but the server has {answer.version.digest}."
            )
        return types.version(answer.version)

    def batch_get(
        self, refs: Iterable[str | Version], *, namespace: str | None = None
    ) -> tuple[Version, ...]:
        """Return up to 100 versions of one namespace as of one moment, in the order asked for.

        Raises:
            NotFound: one of them is not there.
        """
        require_several(refs, name="refs")
        request = pb.BatchGetVersionsRequest(
            namespace=namespace or self._references.namespace, versions=map(self._references.version, refs)
        )
        answer = self._connection.ask("VersionService/BatchGetVersions", request, pb.BatchGetVersionsResponse)
        return tuple(map(types.version, answer.versions))

    def list(
        self,
        model: str,
        *,
        filter: str = "",  # noqa: A002 - as the API calls it
        order_by: str = "",
        show_deleted: bool = False,
    ) -> Iterator[Version]:
        """Yield the versions of a model without files and parameters.

        Args:
            model: a model, or `namespace/-` for all models of a namespace; `-` alone is the client's.
            filter: which versions, for example `metrics.precision@holdout > 0.9 AND stage = production`;
                empty means all.
            order_by: fields separated by commas, each alone or followed by `desc`; empty means `number`,
                of all models `model, number`.
            show_deleted: yield deleted ones too.

        Raises:
            FilterInvalid, OrderByInvalid: the message says in which column, and what was expected.
            MetricAmbiguous: a metric needs its dataset, as in `metrics.precision@holdout`.
        """
        request = pb.ListVersionsRequest(
            model=self._references.model(model),
            filter=filter,
            order_by=order_by,
            show_deleted=show_deleted,
        )
        for message, value in pages.ordered(request, field="versions", ask=self._page):
            yield types.version(message, order_value=value)

    def absent_fields(
        self,
        model: str,
        *,
        filter: str,  # noqa: A002 - as the API calls it
        show_deleted: bool = False,
    ) -> tuple[AbsentField, ...]:
        """Return what a filter asks for that no version has, where `list` yields nothing; else nothing.

        A name in it is likely mistyped, as in `metrics.precison > 0.9`.
        """
        request = pb.ListVersionsRequest(
            model=self._references.model(model),
            filter=filter,
            show_deleted=show_deleted,
            page_size=1,
        )
        return tuple(
            types.AbsentField(each.field, each.suggestion) for each in self._page(request).absent_fields
        )

    def _page(self, request: pb.ListVersionsRequest) -> pb.ListVersionsResponse:
        return self._connection.ask("VersionService/ListVersions", request, pb.ListVersionsResponse)

    def compare(self, refs: Iterable[str | Version], *, metrics: Iterable[str] = ()) -> Comparison:
        """Compare versions; see `Client.compare`."""
        versions = list(map(self._references.version, refs))
        request = pb.CompareVersionsRequest(
            namespace=versions[0].model.partition("/")[0] if versions else self._references.namespace,
            versions=versions,
            metrics=[
                comparison_pb2.MetricSelector(name=name, dataset=dataset, slice=slice_)
                for name, dataset, slice_ in map(metric_keys.parse, metrics)
            ],
        )
        answer = self._connection.ask("VersionService/CompareVersions", request, pb.CompareVersionsResponse)
        return Comparison.of(answer.comparison)

    def update(
        self,
        ref: str | Version,
        *,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        etag: str = "",
        reason: str = "",
    ) -> Version:
        """Change what is not None; content never changes.

        Raises:
            EtagMismatch: it changed since *etag* was read.
        """
        request = pb.UpdateVersionRequest(
            version=self._references.version(ref, exact=True),
            description=description or "",
            labels=checked_labels(labels),
            etag=etag,
            request_id=new_request_id(),
            reason=reason,
        )
        stated = {"description": description, "labels": labels}
        request.update_mask.paths.extend(field for field, value in stated.items() if value is not None)
        answer = self._connection.ask("VersionService/UpdateVersion", request, pb.UpdateVersionResponse)
        return types.version(answer.version)

    def delete(
        self, ref: str | Version, *, etag: str = "", validate_only: bool = False, reason: str = ""
    ) -> Version:
        """Delete a version that no alias points to; it is not found any more, and `undelete` brings it back.

        Args:
            validate_only: change nothing, and return it as it would be.

        Raises:
            VersionInUse: an alias points to it.
            EtagMismatch: it changed since *etag* was read.
        """
        request = pb.DeleteVersionRequest(
            version=self._references.version(ref, exact=True),
            etag=etag,
            validate_only=validate_only,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("VersionService/DeleteVersion", request, pb.DeleteVersionResponse)
        return types.version(answer.version)

    def undelete(
        self, ref: str | Version, *, etag: str = "", validate_only: bool = False, reason: str = ""
    ) -> Version:
        """Bring a deleted version back as it was.

        Args:
            validate_only: change nothing, and return it as it would be.

        Raises:
            NotDeleted: it is not deleted.
            EtagMismatch: it changed since *etag* was read.
        """
        request = pb.UndeleteVersionRequest(
            version=self._references.version(ref, exact=True),
            etag=etag,
            validate_only=validate_only,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("VersionService/UndeleteVersion", request, pb.UndeleteVersionResponse)
        return types.version(answer.version)

    def purge(
        self, ref: str | Version, *, etag: str = "", validate_only: bool = False, reason: str = ""
    ) -> Purged:
        """End a deleted version for good; its number is never given out again.

        Args:
            validate_only: change nothing, and return what would be ended.

        Raises:
            NotDeleted: it must be deleted first.
            EtagMismatch: it changed since *etag* was read.
        """
        request = pb.PurgeVersionRequest(
            version=self._references.version(ref, exact=True),
            etag=etag,
            validate_only=validate_only,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("VersionService/PurgeVersion", request, pb.PurgeVersionResponse)
        return Purged(answer.number, answer.digest, answer.sequence)

    def copy(
        self,
        ref: str | Version,
        model: str,
        *,
        semantic_version: str = "",
        validate_only: bool = False,
        reason: str = "",
    ) -> Created:
        """Make a version of *model* with the content of another, also of another namespace; no bytes move.

        Raises:
            NotFound: no such version, or no such model.
            ContentDeleted: *model* has the content in a deleted version.
        """
        request = pb.CopyVersionRequest(
            source=self._references.version(ref, exact=True),
            model=self._references.model(model),
            semantic_version=semantic_version,
            validate_only=validate_only,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("VersionService/CopyVersion", request, pb.CopyVersionResponse)
        return Created(types.version(answer.version), answer.created, answer.sequence)

    def manifest(self, ref: str | Version) -> Manifest:
        """Return the manifest of a version; its sha256 is the digest of the version."""
        request = pb.GetManifestRequest(version=self._references.version(ref))
        answer = self._connection.ask("VersionService/GetManifest", request, pb.GetManifestResponse)
        return Manifest(answer.manifest, answer.digest, answer.number)

    def files(self, ref: str | Version) -> Iterator[File]:
        """Yield the files of a version in the order of their paths."""

        def ask(request: pb.ListFilesRequest) -> pb.ListFilesResponse:
            return self._connection.ask("VersionService/ListFiles", request, pb.ListFilesResponse)

        request = pb.ListFilesRequest(version=self._references.version(ref))
        if request.version.WhichOneof("selector") == "alias":
            # It may move between two pages.
            request.version.number = self.get(ref).number
        yield from map(types.file, pages.entries(request, field="files", ask=ask))
